"""Stores that break one promise each: whoever relies on the promise must notice.

Every saboteur wraps a working store. They prove that the suite, or your own test, can fail; they are no models of real
faults.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import ClassVar, TypeVar, overload

from antiphon.errors import StatementError, StoreError, StoreVersionError
from antiphon.storage.database import Database, DatabaseCounters, Isolation, Migration, OpenTransaction, Row, SqlValue
from antiphon.storage.dialects import spoken
from antiphon.storage.queries import load_queries

T = TypeVar("T")
_TURNS = [
    spoken(load_queries("antiphon.storage", f"sql/{name}.sql")["take_turn"], "postgres")
    for name in ("set_aside", "schedule")
]


class SabotagedTransaction:
    """Passes everything on. A subclass spoils what its store is named after."""

    def __init__(self, inner: OpenTransaction) -> None:
        self.inner = inner

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
        await self.inner.commit()

    async def rollback(self) -> None:
        await self.inner.rollback()


class StoreSaboteur:
    """Passes everything on. A subclass spoils what it is named after."""

    transaction_type: ClassVar[type[SabotagedTransaction]] = SabotagedTransaction

    def __init__(self, store: Database) -> None:
        self.store = store
        """The working store behind it."""

    @property
    def url(self) -> str:
        return self.store.url

    @property
    def counters(self) -> DatabaseCounters:
        return self.store.counters

    @property
    def isolation(self) -> Isolation:
        return self.store.isolation

    @property
    def cheap_savepoints(self) -> bool:
        return self.store.cheap_savepoints

    async def open(self) -> None:
        await self.store.open()

    async def close(self) -> None:
        await self.store.close()

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        await self.store.migrate(component, migrations)

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        return await self.store.missing(component, migrations)

    async def begin(self) -> SabotagedTransaction:
        return self.transaction_type(await self.store.begin())

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SabotagedTransaction]:
        tx = await self.begin()
        try:
            yield tx
            await tx.commit()
        except BaseException:
            await tx.rollback()
            raise

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        return await self.store.fetch(sql, *args) if row is None else await self.store.fetch(sql, *args, row=row)


class _LostCommit(SabotagedTransaction):
    async def commit(self) -> None:
        await self.inner.rollback()


class LosingCommits(StoreSaboteur):
    """Says that it committed, and did not."""

    transaction_type = _LostCommit


class _KeptRollback(SabotagedTransaction):
    async def rollback(self) -> None:
        with suppress(StoreError):
            await self.inner.commit()
        await self.inner.rollback()


class KeepingRollbacks(StoreSaboteur):
    """Commits what was rolled back."""

    transaction_type = _KeptRollback


class _KeptPart(SabotagedTransaction):
    async def undo(self) -> None:
        await self.inner.release()


class KeepingParts(StoreSaboteur):
    """Keeps what was undone."""

    transaction_type = _KeptPart


class _LostRest(SabotagedTransaction):
    async def undo(self) -> None:
        await self.inner.undo()
        await self.inner.execute("delete from ledger")


class UndoingTooMuch(StoreSaboteur):
    """Undoes with a part what came before it."""

    transaction_type = _LostRest


class _SwallowedFailure(SabotagedTransaction):
    async def execute(self, sql: str, *args: SqlValue) -> None:
        with suppress(StatementError):
            await self.inner.execute(sql, *args)

    async def commit(self) -> None:
        with suppress(StatementError):
            await self.inner.commit()


class SwallowingFailures(StoreSaboteur):
    """Tells nobody that a statement failed."""

    transaction_type = _SwallowedFailure


class _EarlyCall(SabotagedTransaction):
    def after_commit(self, callback: Callable[[], None]) -> None:
        callback()


class CallingEarly(StoreSaboteur):
    """Says that it committed before it has."""

    transaction_type = _EarlyCall


class _LostLastRow(SabotagedTransaction):
    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        await self.inner.execute_many(sql, [*rows][:-1])


class LosingRows(StoreSaboteur):
    """Leaves out the last one of many rows."""

    transaction_type = _LostLastRow


class _MangledText(SabotagedTransaction):
    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        await self.inner.execute_many(sql, [tuple(map(_mangled, row)) for row in rows])


class ManglingText(StoreSaboteur):
    """Loses what is not ASCII."""

    transaction_type = _MangledText


class LettingReadersWrite(StoreSaboteur):
    """Writes what it was to read."""

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        async with self.store.transaction() as tx:
            return await tx.fetch(sql, *args) if row is None else await tx.fetch(sql, *args, row=row)


class ForgettingMigrations(StoreSaboteur):
    """Does not remember what it applied."""

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        await self.store.migrate(component, migrations)
        async with self.store.transaction() as tx:
            await tx.execute("delete from antiphon_migrations where component = ?", component)


class IgnoringNewerTables(StoreSaboteur):
    """Works on tables that it does not understand."""

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        with suppress(StoreVersionError):
            await self.store.migrate(component, migrations)


class _SkippedTurn(SabotagedTransaction):
    async def execute(self, sql: str, *args: SqlValue) -> None:
        if spoken(sql, "postgres") not in _TURNS:
            await self.inner.execute(sql, *args)


class SkippingTurns(StoreSaboteur):
    """Lets several writers decide at once by what each of them has read. A file has one writer anyway."""

    transaction_type = _SkippedTurn


class PlanningNothing(StoreSaboteur):
    """Says that nothing is missing."""

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        return ()


class StayingOpen(StoreSaboteur):
    """Does not close."""

    async def close(self) -> None:
        """Nothing."""


STORE_SABOTEURS: tuple[type[StoreSaboteur], ...] = (
    LosingCommits,
    KeepingRollbacks,
    KeepingParts,
    UndoingTooMuch,
    SwallowingFailures,
    CallingEarly,
    LosingRows,
    ManglingText,
    LettingReadersWrite,
    ForgettingMigrations,
    IgnoringNewerTables,
    PlanningNothing,
    StayingOpen,
    SkippingTurns,
)


def _mangled(value: SqlValue) -> SqlValue:
    return value.encode("ascii", "replace").decode() if isinstance(value, str) else value
