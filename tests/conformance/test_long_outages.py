"""Ten minutes without a store are told in few lines, cost nothing, and end by themselves."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Broker
from antiphon.events.clock import Clock
from antiphon.runtime.chance import Chance
from antiphon.runtime.stand_ins import StandIns
from antiphon.storage.database import Database
from antiphon.storage.outbox import is_outbox_empty
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.scenarios.outages import Away
from antiphon.testing.scenarios.suite import orders
from antiphon.testing.scenarios.ways import IN_TRANSACTIONS, SOON, WAYS, FailureSuite, Trying, declare
from antiphon.testing.simulation.loop import SimulatedLoop
from tests.conformance.test_scenarios import LeapingClock

OUTAGE = timedelta(minutes=10)
MOST_LINES = 100
"""Three of a kind at first, then one a minute."""


class LongOutages(FailureSuite):
    """In a time that leaps while everybody waits."""

    loop_factory = SimulatedLoop
    time: Clock
    own: Database | None = None

    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        self.time = LeapingClock()
        broker = MemoryBroker("log", clock=self.time)
        await broker.open()
        yield broker
        await broker.close()
        await broker.database.close()

    def stand_ins(self) -> StandIns:
        return StandIns(clock=self.time, chance=Chance(stopwatch=self.time.monotonic))

    @pytest.mark.parametrize("way", WAYS)
    async def test_ten_minutes_without_the_store_cost_nothing_and_few_lines(
        self, broker: Broker, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage, service, work = Away(broker, with_broker=self.own is None), self.paying(SOON), Trying([0], self.time.now)
        declare(service, way, work)
        async with self.running(stage, service):
            await self.place(broker, *orders(10))
            await self.until(work.made(13))
            stage.store.is_away = True
            await self.place(broker, *orders(20)[10:])
            with caplog.at_level(logging.WARNING):
                caplog.clear()
                await self.time.sleep(OUTAGE)
            assert stage.store.refused > 2 * MOST_LINES
            assert 0 < len(caplog.records) < MOST_LINES
            work.failing.clear()
            stage.store.is_away = False
            await self.until(lambda: self._is_done(broker))
        assert await self.parked(broker) == []
        assert sorted(await self.numbers(broker)) == (list(range(20)) if way in IN_TRANSACTIONS else [])
        paid = [delivery.message.key for delivery in await cast(MemoryBroker, broker).browse("payments", {}, 100)]
        assert set(paid) == {f"order-{number}" for number in range(20)}
        assert len(paid) == 20 or way not in IN_TRANSACTIONS

    async def _is_done(self, broker: Broker) -> bool:
        """Whether nothing is left to be handled, or to be published."""
        is_handled = await self.is_read(broker) and not await self.aside(broker)
        return is_handled and await is_outbox_empty(self.store(broker))


class TestOfTheBroker(LongOutages):
    """It is the broker's own, so that nothing can be fetched either."""


class TestOfTheService(LongOutages):
    """It stands beside the broker, and with it the relay waits."""

    @pytest.fixture
    async def broker(self) -> AsyncIterator[Broker]:
        self.time = LeapingClock()
        broker = MemoryBroker("log", clock=self.time)
        self.own = SqliteDatabase(":memory:")
        await broker.open()
        await self.own.open()
        yield broker
        await broker.close()
        await broker.database.close()
        await self.own.close()

    def beside(self, broker: Broker) -> Database | None:
        assert self.own is not None
        return broker.keep_in(self.own) if isinstance(broker, Away) else self.own
