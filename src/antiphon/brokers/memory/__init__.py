"""The broker inside the process."""

from antiphon.brokers.memory.broker import MemoryBroker

__all__ = ["MemoryBroker"]
