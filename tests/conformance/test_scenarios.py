"""Services keep their promises on every broker that we have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import Broker, Subscription
from antiphon.runtime.stand_ins import StandIns
from antiphon.testing.clock import VirtualClock
from antiphon.testing.scenarios import (
    CommitScenarios,
    DeadlineScenarios,
    DrainScenarios,
    FailureScenarios,
    GivingBackScenarios,
    HandlingScenarios,
    KeptOrderScenarios,
    LimitScenarios,
    MisuseScenarios,
    NamingScenarios,
    OrderScenarios,
    OutageScenarios,
    PatienceScenarios,
    RedriveScenarios,
    ReplayScenarios,
    RetryScenarios,
    SchedulingScenarios,
    SettlingFirstScenarios,
    StoppingScenarios,
    TransactionScenarios,
    VersionScenarios,
)
from tests.integration.embedded.silence import silence


class Every(
    CommitScenarios,
    DeadlineScenarios,
    DrainScenarios,
    FailureScenarios,
    GivingBackScenarios,
    HandlingScenarios,
    KeptOrderScenarios,
    LimitScenarios,
    MisuseScenarios,
    NamingScenarios,
    OrderScenarios,
    OutageScenarios,
    RedriveScenarios,
    ReplayScenarios,
    RetryScenarios,
    SchedulingScenarios,
    SettlingFirstScenarios,
    StoppingScenarios,
    TransactionScenarios,
    VersionScenarios,
):
    pass


class InMemory(Every):
    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, MemoryLogSubscription | MemoryQueueSubscription)
        subscription.evict()


class TestMemoryLog(InMemory):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        broker = MemoryBroker()
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()


class TestMemoryQueue(InMemory):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        broker = MemoryBroker("queue")
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()


class TestEmbedded(Every):
    @pytest.fixture
    async def broker(self, tmp_path: Path) -> AsyncIterator[Broker]:
        self.opened = EmbeddedBroker(tmp_path / "log.db")
        await self.opened.open()
        yield self.opened
        await self.opened.close()

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        await silence(self.opened, subscription)

    async def retain(self, broker: Broker) -> None:
        await self.opened.clean()


class TestPatientMemory(PatienceScenarios):
    @pytest.fixture(params=["log", "queue"])
    async def broker(self, request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
        self.time = VirtualClock()
        broker = MemoryBroker(request.param, clock=self.time)
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()

    def stand_ins(self) -> StandIns:
        return StandIns(clock=self.time)

    async def elapse(self, duration: timedelta) -> None:
        await self.time.advance(duration)


class TestTimedMemory(LimitScenarios):
    """In a time of its own, where nothing comes late."""

    slack = timedelta(milliseconds=5)

    @pytest.fixture(params=["log", "queue"])
    async def broker(self, request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
        self.time = VirtualClock()
        broker = MemoryBroker(request.param, clock=self.time)
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()

    def stand_ins(self) -> StandIns:
        return StandIns(clock=self.time)

    def now(self) -> datetime:
        return self.time.now()

    async def elapse(self, duration: timedelta) -> None:
        await self.time.advance(duration)

    async def until(self, holds: Callable[[], object]) -> None:
        async def after_a_while() -> object:
            await self.time.advance(timedelta(milliseconds=1))
            found = holds()
            return await found if asyncio.iscoroutine(found) else found

        await super().until(after_a_while)


class TestPatientEmbedded(PatienceScenarios):
    lease = timedelta(milliseconds=400)

    @pytest.fixture
    async def broker(self, tmp_path: Path) -> AsyncIterator[Broker]:
        broker = EmbeddedBroker(tmp_path / "log.db", lease=self.lease, beat=timedelta(milliseconds=50))
        await broker.open()
        yield broker
        await broker.close()
