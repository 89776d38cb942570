"""The memory broker keeps every promise of a broker, as a log, as a queue, and with its capabilities taken away."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import Broker, Subscription
from antiphon.testing.clock import VirtualClock
from antiphon.testing.conformance import BrokerConformance, LogConformance, QueueConformance

LIMIT = 2 << 20


class InMemory(BrokerConformance):
    clock: VirtualClock

    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        self.clock = VirtualClock()
        broker = self.make()
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()

    def make(self) -> MemoryBroker:
        raise NotImplementedError

    def now(self) -> datetime:
        return self.clock.now()

    async def elapse(self, duration: timedelta) -> None:
        await self.clock.advance(duration)

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, MemoryLogSubscription | MemoryQueueSubscription)
        subscription.evict()


class TestMemoryLog(InMemory, LogConformance):
    def make(self) -> MemoryBroker:
        return MemoryBroker(clock=self.clock, max_message_bytes=LIMIT)


class TestMemoryQueue(InMemory, QueueConformance):
    def make(self) -> MemoryBroker:
        return MemoryBroker("queue", clock=self.clock, max_message_bytes=LIMIT)


class TestMemoryLogWithoutExtras(InMemory, LogConformance):
    def make(self) -> MemoryBroker:
        without = ("groups", "replay", "seek_time", "transactions", "store_transactions")
        return MemoryBroker(clock=self.clock, without=without)


class TestMemoryQueueWithoutExtras(InMemory, QueueConformance):
    def make(self) -> MemoryBroker:
        without = ("groups", "native_delay", "native_dead_letters", "store_transactions")
        return MemoryBroker("queue", clock=self.clock, without=without)
