"""Services keep their promises on every broker that we have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import Broker, Subscription
from antiphon.events.clock import SystemClock
from antiphon.runtime.chance import Chance
from antiphon.runtime.stand_ins import StandIns
from antiphon.testing.clock import VirtualClock
from antiphon.testing.scenarios import (
    AnswerScenarios,
    AskScenarios,
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
    WithWatermarkScenarios,
)
from antiphon.testing.simulation.loop import START, SimulatedLoop
from tests.integration.embedded.silence import silence


class Every(
    AnswerScenarios,
    AskScenarios,
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
    WithWatermarkScenarios,
):
    pass


class LeapingClock(SystemClock):
    """The time of a loop that leaps while everybody waits, which services take for that of the machine."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class InMemory(Every):
    """In a time of its own, in which nothing comes late."""

    loop_factory = SimulatedLoop
    slack = timedelta(milliseconds=5)
    model: ClassVar[Literal["log", "queue"]]

    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        self.time = LeapingClock()
        broker = MemoryBroker(self.model, clock=self.time)
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()

    def stand_ins(self) -> StandIns:
        return StandIns(clock=self.time, chance=Chance(stopwatch=self.time.monotonic))

    def now(self) -> datetime:
        return self.time.now()

    async def evict(self, broker: Broker, subscription: Subscription) -> None:
        assert isinstance(subscription, MemoryLogSubscription | MemoryQueueSubscription)
        subscription.evict()


class TestMemoryLog(InMemory):
    model = "log"


class TestMemoryQueue(InMemory):
    model = "queue"


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
