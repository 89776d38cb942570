"""Ten minutes without a store are told in two lines, cost nothing, and end by themselves."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Broker
from antiphon.events.clock import Clock
from antiphon.runtime.chance import Chance
from antiphon.runtime.health import readiness
from antiphon.runtime.service import Service
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


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def _seconds_away(service: Service, url: str) -> float:
    """For how long a probe is told that this store was away."""
    (problem,) = [each for each in readiness([service.health]).problems if "store" in each]
    found = re.fullmatch(
        re.escape(f"payments: the store {url} has been away for ") + r"(\d+\.\d) s: it is away", problem
    )
    assert found is not None
    return float(found[1])


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
    async def test_ten_minutes_without_the_store_cost_nothing_and_two_lines(
        self, broker: Broker, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage, service, work = Away(broker, with_broker=self.own is None), self.paying(SOON), Trying([0], self.time.now)
        declare(service, way, work)
        async with self.running(stage, service):
            await self.place(broker, *orders(10))
            await self.until(work.made(13))
            stage.store.is_away = True
            await self.place(broker, *orders(20)[10:])
            caplog.set_level(logging.INFO)
            caplog.clear()
            await self.time.sleep(OUTAGE)
            url = stage.store.url
            assert stage.store.refused > 200
            assert _told(caplog) == [f"the store {url} is gone, and what needs it waits: it is away"]
            assert _seconds_away(service, url) == pytest.approx(OUTAGE.total_seconds(), abs=5)
            work.failing.clear()
            stage.store.is_away = False
            await self.until(lambda: self._is_done(broker) if readiness([service.health]).ok else False)
            (back,) = [each for each in _told(caplog)[1:] if "store" in each]
            told = re.fullmatch(re.escape(f"the store {url} is back after ") + r"(6\d\d\.\d) s", back)
            assert told is not None
            assert float(told[1]) == pytest.approx(OUTAGE.total_seconds(), abs=5)
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
