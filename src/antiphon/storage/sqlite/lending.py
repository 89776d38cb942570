"""How does a handler get a `sqlite3.Connection` of its own, whose transaction the service commits?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar, cast

from antiphon.errors import StoreError
from antiphon.storage.database import Database
from antiphon.storage.endings import ended
from antiphon.storage.sessions import to_the_end
from antiphon.storage.sqlite.driver import (
    Connection,
    Cursor,
    DriverError,
    close,
    lent_connection,
    undo_at_once,
    undo_everything,
)
from antiphon.storage.sqlite.errors import explain
from antiphon.storage.sqlite.transaction import SqliteTransaction
from antiphon.storage.sqlite.writer import Writer

T = TypeVar("T")
log = logging.getLogger("antiphon.storage")


class SqliteConnections:
    """As `Sessions`: a connection to the store's file for each attempt, closed at its end, so that none outlives it."""

    kind: type | None = Connection

    def __init__(self, database: Database, writer: Writer, *, is_plain: bool) -> None:
        self._database, self._writer, self.is_plain = database, writer, is_plain

    async def open(self, store: Database) -> None:
        """As `Sessions.open`: it is the store's own."""

    async def close(self) -> None:
        """As `Sessions.close`: nothing is kept."""

    async def begin(self) -> LentTransaction:
        """As `Sessions.begin`."""
        give_back = await self._writer.enter()
        try:
            cursor = await self._writer.connect_lent()
        except BaseException:
            give_back()
            raise
        return LentTransaction(self._database, _Ending(self._writer, cursor, give_back), cursor)


class _Ending:
    """As `Ending`, for one transaction over a connection of its own."""

    def __init__(self, writer: Writer, cursor: Cursor, give_back: Callable[[], None]) -> None:
        self.path, self.known_statements = writer.path, writer.known_statements
        self._writer, self._cursor, self._give_back = writer, cursor, give_back
        self._is_over = False

    async def commit(self, then: Callable[[], None]) -> None:
        is_committed = False

        def note() -> None:
            nonlocal is_committed
            is_committed = True

        try:
            await self._writer.commit_lent(self._cursor, note)
        finally:
            self._end()
            if is_committed:  # also when it was canceled meanwhile
                then()

    async def roll_back(self, tx: SqliteTransaction) -> None:
        if not self._is_over:
            self._end()

    async def leave_behind(self, calling: asyncio.Future[object]) -> None:
        """Undo everything and let the next one write, while the handler still runs; close once it has ended."""
        if self._is_over:
            return
        self._is_over = True
        log.warning("%s: a handler runs on in its thread; what it wrote is undone, and it can write no more", self.path)
        try:
            # In a thread, since a statement that the handler's runs just now has to end first.
            await asyncio.to_thread(undo_at_once, self._cursor)
        finally:
            calling.add_done_callback(lambda _: close(self._cursor))
            self._give_back()

    def _end(self) -> None:
        self._is_over = True
        undo_everything(self._cursor)
        close(self._cursor)
        self._give_back()


class LentTransaction(SqliteTransaction):
    """As a `SessionTransaction` whose session is a connection; it is a transaction of the store as any other."""

    __slots__ = ("_calling", "_ended", "_ending")

    def __init__(self, database: Database, ending: _Ending, cursor: Cursor) -> None:
        super().__init__(database, ending, cursor)
        self._ending = ending
        self._calling: asyncio.Future[object] | None = None
        self._ended = False

    @property
    def session(self) -> object:
        """As `SessionTransaction.session`."""
        return lent_connection(self._cursor)

    async def call(self, work: Callable[[], T]) -> T:
        """As `SessionTransaction.call`: any thread may have it, one at a time."""
        calling = asyncio.ensure_future(asyncio.to_thread(work))
        self._calling = cast("asyncio.Future[object]", calling)
        calling.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be given up before
        return await asyncio.shield(calling)

    async def guard(self) -> None:
        """As `SessionTransaction.guard`."""
        self._control("savepoint antiphon_handler")

    async def require_unended(self) -> None:
        """As `SessionTransaction.require_unended`."""
        try:
            self._control("release savepoint antiphon_handler")
        except StoreError as error:
            if error.retryable:
                raise
            raise ended(self._writer.path, error) from error

    def explained(self, error: Exception) -> StoreError | None:
        """As `SessionTransaction.explained`."""
        return explain(error, self._writer.path, "run it") if isinstance(error, DriverError) else None

    async def rollback(self) -> None:
        """As `OpenTransaction.rollback`. A handler that still runs in its thread is refused any more statements.

        It is not waited for: nothing ends a thread, and nobody else could write until it returns.
        """
        if not self._ended:
            self._ended = True
            await to_the_end(self._roll_back())

    async def _roll_back(self) -> None:
        lent_connection(self._cursor).is_over = True
        if self._calling is not None and not self._calling.done():
            await self._ending.leave_behind(self._calling)
        await super().rollback()
