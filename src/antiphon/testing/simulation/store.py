"""What does a simulated process see of the store? It takes its time, is busy at times, and forgets what is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from antiphon.storage.database import Database, Migration, OpenTransaction, Row, SqlValue
from antiphon.testing.simulation.seat import Seat
from antiphon.testing.store_sabotage import SabotagedTransaction, StoreSaboteur

T = TypeVar("T")


class SimulatedTransaction(SabotagedTransaction):
    """A transaction of the store behind it. Between its commit and whoever waits for that, a process may end."""

    def __init__(self, inner: OpenTransaction, seat: Seat) -> None:
        super().__init__(inner)
        self.is_over = False
        self._seat = seat
        seat.world.writing += 1
        self._checks: list[Callable[[], None]] = []

    def check_then(self, check: Callable[[], None]) -> None:
        """Call `check` once this has committed, after everybody else."""
        self._checks.append(check)

    async def commit(self) -> None:
        await self._seat.reach_store("commit")
        await super().commit()
        self._end()
        self._seat.world.learn(by=self._seat.name)
        for check in self._checks:
            check()
        await self._seat.falter()

    async def rollback(self) -> None:
        self._end()
        await super().rollback()

    def _end(self) -> None:
        if not self.is_over:
            self._seat.world.writing -= 1
        self.is_over = True


class SimulatedStore(StoreSaboteur):
    """The database of all processes, as one of them sees it."""

    def __init__(self, store: Database, seat: Seat) -> None:
        super().__init__(store)
        self._seat = seat

    async def open(self) -> None:
        await self._seat.reach_store("open")
        await super().open()

    async def close(self) -> None:
        """It outlives every process."""

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        await self._seat.reach_store("migrate")
        await super().migrate(component, migrations)

    async def begin(self) -> SimulatedTransaction:
        await self._seat.reach_store("begin a transaction")
        return SimulatedTransaction(await self.store.begin(), self._seat)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        self._seat.require_store("read")
        return await self.store.fetch(sql, *args) if row is None else await self.store.fetch(sql, *args, row=row)
