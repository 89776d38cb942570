"""What tests of services and of adapters begin with: a service in memory, and time that a test holds."""

from antiphon.testing.clock import VirtualClock
from antiphon.testing.harness import Harness
from antiphon.testing.simulator import ALL_TROUBLES, BrokenPromiseError, SimulationReport, Simulator, Trouble

__all__ = [
    "ALL_TROUBLES",
    "BrokenPromiseError",
    "Harness",
    "SimulationReport",
    "Simulator",
    "Trouble",
    "VirtualClock",
]
