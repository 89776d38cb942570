"""What can be done inside one transaction on SQLite?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, overload

from antiphon.errors import StatementError, StoreError
from antiphon.storage.database import Database, Row, SqlValue
from antiphon.storage.rows import convert_rows
from antiphon.storage.sqlite.driver import REFUSED, Cursor, DriverError, columns, is_complete, undo_everything
from antiphon.storage.sqlite.errors import explain
from antiphon.storage.statements import KnownStatements, shorten, split_script

T = TypeVar("T")

logger = logging.getLogger("antiphon.storage")

_OVER = "the transaction is over: it was committed or rolled back"


class Ending(Protocol):
    """Whoever began a transaction, and ends it for it."""

    path: str
    known_statements: KnownStatements

    async def commit(self, then: Callable[[], None]) -> None:
        """Commit the current transaction; `then` is called when that succeeded, whoever is canceled meanwhile."""
        ...

    async def roll_back(self, tx: SqliteTransaction) -> None:
        """Nothing happens unless `tx` is the current one; while it commits, only wait for the end of that."""
        ...


class SqliteTransaction:
    """Writes that commit together or not at all.

    `send`, `send_many` and `query` are `execute`, `execute_many` and `fetch` without a coroutine, for code that
    counts microseconds; nothing waits in them. A statement that is refused is undone alone, and the transaction
    goes on. A file that fails, or has no room, undoes everything; then nothing but `rollback` is left.
    """

    __slots__ = ("_callbacks", "_counters", "_cursor", "_database", "_known", "_over", "_part", "_writer")

    def __init__(self, database: Database, writer: Ending, cursor: Cursor) -> None:
        self._database, self._writer, self._cursor = database, writer, cursor
        self._known, self._counters = writer.known_statements, database.counters
        self._callbacks: list[Callable[[], None]] = []
        self._part: int | None = None
        self._over: StoreError | None = None
        """Why it takes nothing more, once it does not."""

    @property
    def database(self) -> Database:
        """Where it writes."""
        return self._database

    def send(self, sql: str, args: Sequence[SqlValue] = ()) -> None:
        """`execute` without a coroutine."""
        self.query(sql, args)

    def send_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """`execute_many` without a coroutine."""
        rows = rows if isinstance(rows, Sequence) else list(rows)
        self._admit(sql)
        try:
            self._cursor.executemany(sql, rows)
        except REFUSED as error:
            raise self._failed(error, sql) from error
        self._counters.statements += len(rows)

    def query(self, sql: str, args: Sequence[SqlValue] = ()) -> list[Row]:
        """`fetch` without a coroutine, as tuples."""
        if self._over is not None or sql not in self._known:
            self._admit(sql)
        cursor = self._cursor
        try:
            cursor.execute(sql, args)
            # A statement left half read would keep the commit from succeeding.
            rows = cursor.fetchall() if cursor.description is not None else []
        except REFUSED as error:
            raise self._failed(error, sql) from error
        self._counters.statements += 1
        return rows

    async def execute(self, sql: str, *args: SqlValue) -> None:
        """Run one statement; never suspends. Raises StoreError."""
        self.query(sql, args)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each row; never suspends. Raises StoreError."""
        self.send_many(sql, rows)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Transaction.fetch`; never suspends."""
        rows = self.query(sql, args)
        return rows if row is None else convert_rows(rows, columns(self._cursor), row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        """As `Transaction.fetch_one`. The statement runs to its end; let it return few rows."""
        rows = self.query(sql, args)[:1]
        if row is None or not rows:
            return rows[0] if rows else None
        return convert_rows(rows, columns(self._cursor), row)[0]

    async def run_script(self, sql: str) -> None:
        """Run several statements, divided by semicolons; the first that fails ends it."""
        for statement in split_script(sql, is_complete):
            self.query(statement, ())

    def after_commit(self, callback: Callable[[], None]) -> None:
        """As `Transaction.after_commit`."""
        self._callbacks.append(callback)

    async def savepoint(self) -> None:
        """As `OpenTransaction.savepoint`; never suspends."""
        self._require_running()
        if self._part is not None:
            raise StoreError("a part of this transaction is open already: release or undo it first")
        self._control("savepoint part")
        self._part = len(self._callbacks)

    async def release(self) -> None:
        """As `OpenTransaction.release`; never suspends."""
        self._require_part()
        self._control("release part")
        self._part = None

    async def undo(self) -> None:
        """As `OpenTransaction.undo`; never suspends."""
        kept = self._require_part()
        self._control("rollback to part")
        self._control("release part")
        del self._callbacks[kept:]
        self._part = None

    async def commit(self) -> None:
        """As `OpenTransaction.commit`: in the thread, since it waits for the disk."""
        self._require_running()
        self._over = StoreError(_OVER)
        await self._writer.commit(self._call_back)

    async def rollback(self) -> None:
        """As `OpenTransaction.rollback`. During a commit it waits for that to end."""
        self._over = self._over or StoreError(_OVER)
        await self._writer.roll_back(self)

    def _call_back(self) -> None:
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                # It is committed, so nobody may take this for a failure; and the other callbacks count on being called.
                logger.exception("%s: a callback after a commit failed", self._writer.path)

    def _control(self, sql: str) -> None:
        self._require_running()
        try:
            self._cursor.execute(sql)
        except DriverError as error:
            raise self._failed(error, sql) from error
        self._counters.statements += 1

    def _admit(self, sql: str) -> None:
        self._require_running()
        self._known.admit(sql)

    def _require_running(self) -> None:
        if self._over is not None:
            raise type(self._over)(*self._over.args)

    def _require_part(self) -> int:
        self._require_running()
        if self._part is None:
            raise StoreError("no part of this transaction is open: call savepoint() first")
        return self._part

    def _failed(self, error: Exception, sql: str) -> StoreError:
        explained = explain(error, self._writer.path, f"run {shorten(sql)!r}")
        if not isinstance(explained, StatementError):
            undo_everything(self._cursor)
        if not self._cursor.connection.in_transaction:
            # Left alone, the next statement would commit by itself. The class stays: whether it can pass is in it.
            self._over = type(explained)(f"the transaction was undone, since a statement failed: {explained}")
        return explained
