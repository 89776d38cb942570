"""What tests of services and of adapters begin with: a service in memory, and time that a test holds."""

from antiphon.testing.clock import VirtualClock
from antiphon.testing.harness import Harness

__all__ = ["Harness", "VirtualClock"]
