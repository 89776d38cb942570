"""The broker inside the process: what other rooms may use of it."""

from antiphon.brokers.memory.broker import MemoryBroker, from_address
from antiphon.brokers.memory.log_subscription import MemoryLogSubscription
from antiphon.brokers.memory.queue_subscription import MemoryQueueSubscription

__all__ = ["MemoryBroker", "MemoryLogSubscription", "MemoryQueueSubscription", "from_address"]
