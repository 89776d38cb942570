"""Promises about times when the store is away, members come and go, or a broker cannot do what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import TypeVar, overload

import pytest

from antiphon.brokers.ports import Broker, Delivery, StoreBroker, Subscription
from antiphon.errors import StoreUnavailableError
from antiphon.resilience import Breaker, Retry
from antiphon.storage.database import (
    Database,
    DatabaseCounters,
    Isolation,
    Migration,
    OpenTransaction,
    Row,
    SqlValue,
    Transaction,
)
from antiphon.storage.runs import Process, Run, begin_run, bury
from antiphon.testing.sabotage import Saboteur
from antiphon.testing.scenarios.suite import OrderPlaced, orders
from antiphon.testing.scenarios.ways import FIRST, IN_TRANSACTIONS, SOON, WAYS, FailureSuite, Trying, declare

T = TypeVar("T")


class OutageScenarios(FailureSuite):
    """Nobody restarts anything by hand."""

    @pytest.mark.parametrize(
        ("way", "with_broker"), [*((way, True) for way in WAYS), ("direct", False), ("shared", False), ("own", False)]
    )
    async def test_a_store_that_is_away_for_a_while_costs_nothing_and_is_not_shouted_about(
        self, broker: Broker, way: str, with_broker: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was set aside before, what comes meanwhile, and what comes after: all is handled."""
        stage, service, work = Away(broker, with_broker=with_broker), self.paying(SOON), Trying([0], self.now)
        declare(service, way, work)
        async with self.running(stage, service):
            await self.place(broker, *orders(10))
            await self.until(work.made(13))
            stage.store.is_away = True
            before = len(caplog.records)
            await self.place(broker, *orders(20)[10:])
            await self.until(lambda: stage.store.refused >= 4)
            assert len(caplog.records) - before < 40
            assert await self.parked(broker) == []
            work.failing.clear()
            stage.store.is_away = False
            await self.until(lambda: set(work.done) == set(range(20)))
            await self.until(lambda: self._is_done(broker))
        assert await self.aside(broker) == {}
        assert sorted(await self.numbers(broker)) == (list(range(20)) if way in IN_TRANSACTIONS else [])

    async def test_a_store_that_is_away_opens_no_breaker_and_parks_nothing(self, broker: Broker) -> None:
        """It is waited for as it is; what handlers call is another matter."""
        stage, states = Away(broker), list[str]()
        service = self.paying(Retry(immediate=0, delayed=0), breaker=Breaker(least=1))
        work = Trying([], self.now)
        service.hooks.circuit_changed.watch(lambda change: states.append(change.state))
        declare(service, "own", work)
        async with self.running(stage, service):
            stage.store.is_away = True
            await self.place(broker, *orders(5))
            await self.until(lambda: stage.store.refused >= 4)
            stage.store.is_away = False
            await self.until(lambda: self._is_done(broker))
        assert sorted(await self.numbers(broker)) == [0, 1, 2, 3, 4]
        assert (states, await self.aside(broker)) == ([], {})

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_store_that_is_away_is_waited_for_also_while_a_death_makes_careful(
        self, broker: Broker, way: str
    ) -> None:
        """Then what is attempted is noted first, which the store must be there for."""
        stage, service, work = Away(broker), self.paying(SOON), Trying([], self.now)

        def leave(orders: Sequence[OrderPlaced]) -> None:
            work(orders)
            stage.store.is_away = stage.store.is_away or stage.store.refused == 0

        declare(service, way, leave)
        now = self.now()
        dead = Run(
            id="a dead one",
            group="payments",
            service="payments",
            process=Process("elsewhere", 1, ""),
            started_at=now,
            heard_of=now,
            status={},
        )
        async with self.store(broker).transaction() as tx:
            await begin_run(tx, dead)
            await bury(tx, dead, now)
        async with self.running(stage, service):
            await self.place(broker, *orders(40, keys=4))
            await self.until(lambda: stage.store.refused >= 4)
            stage.store.is_away = False
            await self.until(lambda: self._is_done(broker))
            await self.settled(service)
        assert set(work.done) == set(range(40))
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("way", ["direct", "shared"])
    async def test_members_that_come_and_go_while_others_start_lose_nothing(self, broker: Broker, way: str) -> None:
        """And none of them hangs, whether or not it ever had a partition, or had read one again."""
        work = Trying(range(0, 100, 7), self.now)
        later = Retry(immediate=0, delayed=1000, first_delay=FIRST, factor=1)

        async def come_and_go(rounds: int, stay: timedelta) -> None:
            for _ in range(rounds):
                member = self.paying(later)
                declare(member, way, work)
                async with self.running(broker, member):
                    await asyncio.sleep(stay.total_seconds())

        async with self.in_time():
            waves = asyncio.gather(*(come_and_go(4, number * timedelta(milliseconds=15)) for number in range(4)))
            for start in range(0, 100, 10):
                await self.place(broker, *orders(100, keys=10)[start : start + 10])
                await asyncio.sleep(0.01)
            await waves
        work.failing.clear()
        last = self.paying(later)
        declare(last, way, work)
        async with self.running(broker, last):
            await self.until(lambda: set(work.done) == set(range(100)))
            await self.until(lambda: self._is_done(broker))
        assert await self.aside(broker) == {}
        assert sorted(await self.numbers(broker)) == (list(range(100)) if way == "shared" else [])

    async def _is_done(self, broker: Broker) -> bool:
        """Whether nothing is left to be handled."""
        return await self.is_read(broker) and not await self.aside(broker)


class AwayStore:
    """A database that cannot be reached for a while."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_away = False
        self.refused = 0

    @property
    def url(self) -> str:
        return self.database.url

    @property
    def counters(self) -> DatabaseCounters:
        return self.database.counters

    @property
    def isolation(self) -> Isolation:
        return self.database.isolation

    @property
    def cheap_savepoints(self) -> bool:
        return self.database.cheap_savepoints

    async def open(self) -> None:
        await self.database.open()

    async def close(self) -> None:
        await self.database.close()

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        await self.database.migrate(component, migrations)

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        return await self.database.missing(component, migrations)

    async def begin(self) -> OpenTransaction:
        self.reach()
        return await self.database.begin()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Transaction]:
        self.reach()
        async with self.database.transaction() as tx:
            yield tx

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        self.reach()
        return await (self.database.fetch(sql, *args) if row is None else self.database.fetch(sql, *args, row=row))

    def reach(self) -> None:
        """Raise while it is away."""
        if self.is_away:
            self.refused += 1
            raise StoreUnavailableError("it is away")


class Away(Saboteur):
    """A broker whose store cannot be reached for a while."""

    def __init__(self, broker: Broker, *, with_broker: bool = False) -> None:
        super().__init__(broker)
        if isinstance(broker, StoreBroker):  # otherwise `keep_in` says which store it is
            self.store = AwayStore(broker.database)
        self.is_apart = False
        self.with_broker = with_broker
        """Whether nothing can be fetched then, either."""

    def keep_in(self, own: Database) -> Database:
        """Let another store be away than the broker's: that of services which keep their tables in `own`."""
        self.store = AwayStore(own)
        self.is_apart = True
        return self.store

    @property
    def database(self) -> Database:
        return super().database if self.is_apart else self.store

    async def fetch(
        self, subscription: Subscription, limit: int, max_bytes: int, wait: timedelta
    ) -> Sequence[Delivery]:
        if self.with_broker:
            self.store.reach()
        return await super().fetch(subscription, limit, max_bytes, wait)
