"""Services keep their promises on every broker that we have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import Broker, Subscription
from antiphon.runtime.stand_ins import StandIns
from antiphon.testing.clock import VirtualClock
from antiphon.testing.scenarios import (
    CommitScenarios,
    DrainScenarios,
    FailureScenarios,
    HandlingScenarios,
    MisuseScenarios,
    OrderScenarios,
    PatienceScenarios,
    ReplayScenarios,
    TransactionScenarios,
    VersionScenarios,
)
from tests.integration.embedded.silence import silence


class Every(
    CommitScenarios,
    DrainScenarios,
    FailureScenarios,
    HandlingScenarios,
    MisuseScenarios,
    OrderScenarios,
    ReplayScenarios,
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


class TestPatientEmbedded(PatienceScenarios):
    lease = timedelta(milliseconds=400)

    @pytest.fixture
    async def broker(self, tmp_path: Path) -> AsyncIterator[Broker]:
        broker = EmbeddedBroker(tmp_path / "log.db", lease=self.lease, beat=timedelta(milliseconds=50))
        await broker.open()
        yield broker
        await broker.close()
