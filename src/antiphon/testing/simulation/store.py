"""What does a simulated process see of the store? It takes its time, is busy at times, and forgets what is open."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TypeVar, overload

from antiphon.storage.database import Database, DatabaseCounters, Isolation, Migration, OpenTransaction, Row, SqlValue
from antiphon.testing.simulation.seat import Seat

T = TypeVar("T")


class SimulatedTransaction:
    """A transaction of the store behind it. Between its commit and whoever waits for that, a process may end."""

    def __init__(self, inner: OpenTransaction, seat: Seat) -> None:
        self.inner = inner
        self.is_over = False
        self._seat = seat
        seat.world.writing += 1
        self._checks: list[Callable[[], None]] = []

    def check_then(self, check: Callable[[], None]) -> None:
        """Call `check` once this has committed, after everybody else."""
        self._checks.append(check)

    async def execute(self, sql: str, *args: SqlValue) -> None:
        await self.inner.execute(sql, *args)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        await self.inner.execute_many(sql, rows)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        return await self.inner.fetch(sql, *args) if row is None else await self.inner.fetch(sql, *args, row=row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        if row is None:
            return await self.inner.fetch_one(sql, *args)
        return await self.inner.fetch_one(sql, *args, row=row)

    def after_commit(self, callback: Callable[[], None]) -> None:
        self.inner.after_commit(callback)

    async def savepoint(self) -> None:
        await self.inner.savepoint()

    async def release(self) -> None:
        await self.inner.release()

    async def undo(self) -> None:
        await self.inner.undo()

    async def commit(self) -> None:
        await self._seat.reach_store("commit")
        await self.inner.commit()
        self._end()
        self._seat.world.learn(by=self._seat.name)
        for check in self._checks:
            check()
        await self._seat.falter()

    async def rollback(self) -> None:
        self._end()
        await self.inner.rollback()

    def _end(self) -> None:
        if not self.is_over:
            self._seat.world.writing -= 1
        self.is_over = True


class SimulatedStore:
    """The database of all processes, as one of them sees it."""

    def __init__(self, inner: Database, seat: Seat) -> None:
        self._inner, self._seat = inner, seat

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def counters(self) -> DatabaseCounters:
        return self._inner.counters

    @property
    def isolation(self) -> Isolation:
        return self._inner.isolation

    @property
    def cheap_savepoints(self) -> bool:
        return self._inner.cheap_savepoints

    async def open(self) -> None:
        await self._seat.reach_store("open")
        await self._inner.open()

    async def close(self) -> None:
        """It outlives every process."""

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        await self._seat.reach_store("migrate")
        await self._inner.migrate(component, migrations)

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        return await self._inner.missing(component, migrations)

    async def begin(self) -> SimulatedTransaction:
        await self._seat.reach_store("begin a transaction")
        return SimulatedTransaction(await self._inner.begin(), self._seat)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SimulatedTransaction]:
        tx = await self.begin()
        try:
            yield tx
        except BaseException:
            await tx.rollback()
            raise
        try:
            await tx.commit()
        except BaseException:
            await tx.rollback()
            raise

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        self._seat.require_store("read")
        return await self._inner.fetch(sql, *args) if row is None else await self._inner.fetch(sql, *args, row=row)
