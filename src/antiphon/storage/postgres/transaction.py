"""What can be done inside one transaction on PostgreSQL?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar, overload

from antiphon.errors import CommitUnknownError, StatementError, StoreError, StoreUnavailableError
from antiphon.storage.database import Database, Isolation, Row, SqlValue
from antiphon.storage.dialects import spoken
from antiphon.storage.last_writes import LastWrites, Write
from antiphon.storage.postgres.placeholders import is_complete
from antiphon.storage.postgres.session import Failed, Session
from antiphon.storage.rows import convert_rows
from antiphon.storage.statements import refuse_owners_words, split_script

T = TypeVar("T")

logger = logging.getLogger("antiphon.storage")

_OVER = "the transaction is over: it was committed or rolled back"


class Lender(Protocol):
    """Whoever lent the connection, and takes it back."""

    @property
    def name(self) -> str: ...

    async def take_back(self, tx: PostgresTransaction, session: Session) -> None:
        """The transaction is over."""
        ...


class _Registered(NamedTuple):
    """How many callbacks and last writes there were."""

    callbacks: int
    last_writes: int


class PostgresTransaction:
    """Writes that commit together or not at all.

    `execute` sends a statement and does not wait, so that a failure is raised by the next `fetch`, `release` or
    `commit`; only a value that cannot be sent at all is refused at once. A statement that fails undoes its part, and
    without one the transaction; then nothing but `undo` or `rollback` is left.
    """

    __slots__ = (
        "_broken",
        "_callbacks",
        "_database",
        "_ending",
        "_is_back",
        "_last_writes",
        "_lender",
        "_over",
        "_part",
        "_parts",
        "_session",
    )

    def __init__(self, database: Database, lender: Lender, session: Session, isolation: Isolation) -> None:
        self._database, self._lender, self._session = database, lender, session
        self._callbacks: list[Callable[[], None]] = []
        self._last_writes = LastWrites()
        self._part: _Registered | None = None
        """What was registered when the open part began."""
        self._parts = 0
        self._broken: StoreError | None = None
        """Why the open part takes nothing more."""
        self._over: StoreError | None = None
        """Why it takes nothing more at all."""
        self._ending: asyncio.Task[None] | None = None
        self._is_back = False
        session.control(f"begin isolation level {isolation.replace('-', ' ')}")

    @property
    def database(self) -> Database:
        """Where it writes."""
        return self._database

    async def execute(self, sql: str, *args: SqlValue) -> None:
        """As `Transaction.execute`; waits only when a thousand statements have not been answered yet."""
        self._require_running()
        session = self._session
        session.send(sql, args, self._here())
        if session.is_crowded:
            await self._settle()

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """As `Transaction.execute_many`; all of them go out together."""
        self._require_running()
        session, here = self._session, self._here()
        for row in rows:
            session.send(sql, row, here)
            if session.is_crowded:
                await self._settle()

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Transaction.fetch`: one round trip, with everything that was sent before."""
        self._require_running()
        self._session.send(sql, args, self._here())
        await self._settle()
        rows = self._session.rows()
        return rows if row is None else convert_rows(rows, self._session.columns(), row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        """As `Transaction.fetch_one`. The statement runs to its end; let it return few rows."""
        rows = (await self.fetch(sql, *args))[:1]
        if row is None or not rows:
            return rows[0] if rows else None
        return convert_rows(rows, self._session.columns(), row)[0]

    async def run_script(self, sql: str) -> None:
        """Run several statements, divided by semicolons; the first that fails ends it."""
        self._require_running()
        for statement in split_script(spoken(sql, "postgres"), is_complete):
            refuse_owners_words(statement)
            self._control(statement, self._here())
        await self._settle()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """As `Transaction.after_commit`."""
        self._callbacks.append(callback)

    def before_commit(self, write: Write[T], item: T) -> None:
        """Call `write` once when this commits, as the last that it does, with every item given for it.

        For what takes locks that many want: they are held for one round trip then. Never on rollback, and an undone
        part takes its items with it. What `write` raises, the commit raises, and nothing was written.
        """
        self._last_writes.add(write, item)

    async def savepoint(self) -> None:
        """As `OpenTransaction.savepoint`; does not wait."""
        self._require_running()
        if self._part is not None:
            raise StoreError("a part of this transaction is open already: release or undo it first")
        self._control("savepoint part")
        self._part = _Registered(len(self._callbacks), len(self._last_writes))
        self._parts += 1

    async def release(self) -> None:
        """As `OpenTransaction.release`: one round trip, so that a failure is known to be this part's."""
        self._require_part()
        self._require_running()
        self._control("release savepoint part", self._here())
        await self._settle()
        self._part = None

    async def undo(self) -> None:
        """As `OpenTransaction.undo`; waits for what the part has sent, since a failure would skip the undoing."""
        kept = self._require_part()
        if self._broken is None:
            await self._settle_part()
        self._control("rollback to savepoint part")
        self._control("release savepoint part")
        del self._callbacks[kept.callbacks :]
        self._last_writes.undo(kept.last_writes)
        self._part = self._broken = None

    async def commit(self) -> None:
        """As `OpenTransaction.commit`: one round trip, with everything that was sent before."""
        self._require_running()
        if self._last_writes:
            await self._write_last()
        self._over = StoreError(_OVER)
        self._ending = asyncio.get_running_loop().create_task(self._commit())
        await _to_the_end(self._ending)

    async def rollback(self) -> None:
        """As `OpenTransaction.rollback`. During a commit it waits for that to end."""
        self._over = self._over or StoreError(_OVER)
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._roll_back())
            await _to_the_end(self._ending)
        elif not self._ending.done():
            await asyncio.wait({self._ending})

    async def _write_last(self) -> None:
        try:
            await self._last_writes.run(self)
        except BaseException:
            await self.rollback()  # who commits takes it to be over, whatever comes of it
            raise

    async def _commit(self) -> None:
        session = self._session
        try:
            session.require_alive()
            session.control("commit")
            failed = await session.settle()
            if failed is None and session.said() != "COMMIT":
                raise StoreError(
                    f"{self._lender.name}: the server undid the transaction, and said only {session.said()!r}"
                )
            if failed is not None:
                await self._undo_everything()
        finally:
            await self._lender.take_back(self, session)
        if failed is not None:
            raise failed.error if failed.is_certain else self._unknown(failed)
        session.counters.commits += 1
        self._call_back()

    def _unknown(self, failed: Failed) -> CommitUnknownError:
        unknown = CommitUnknownError(
            f"{self._lender.name}: the connection was lost during the commit, so that all was written or nothing: do "
            f"it again, and let the inbox say whether it was ({failed.error})"
        )
        unknown.__cause__ = failed.error.__cause__
        return unknown

    async def _roll_back(self) -> None:
        session = self._session
        try:
            if session.is_waiting:
                await session.abandon()  # another task is in the middle of it, and is told that it is over
            elif not session.is_lost:
                await session.settle()
            await self._undo_everything()
        finally:
            await self._lender.take_back(self, self._session)

    async def _undo_everything(self) -> None:
        """Leave no transaction behind; the server has done so itself where the connection is lost."""
        if not self._session.is_lost:
            self._session.control("rollback")
            await self._session.settle()

    def _call_back(self) -> None:
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                # It is committed, so nobody may take this for a failure; and the other callbacks count on being called.
                logger.exception("%s: a callback after a commit failed", self._lender.name)

    def _control(self, sql: str, part: int = 0) -> None:
        self._session.control(sql, part)
        self._session.counters.statements += 1

    async def _settle(self) -> None:
        failed = await self._session.settle()
        if failed is not None:
            raise self._failed(failed)

    async def _settle_part(self) -> None:
        """Wait for what was sent; that something of the open part failed does not matter any more."""
        failed = await self._session.settle()
        if failed is not None:
            error = self._failed(failed)
            if self._over is not None:
                raise error

    def _failed(self, failed: Failed) -> StoreError:
        error = failed.error
        in_part = self._part is not None and failed.sent.part == self._parts
        if in_part and isinstance(error, StatementError):
            self._broken = type(error)(f"the part was given up, since a statement failed: {error}")
        elif self._over is None:
            # The class stays: whether it can pass is in it.
            self._over = type(error)(f"the transaction was undone, since a statement failed: {error}")
        return error

    def _here(self) -> int:
        return 0 if self._part is None else self._parts

    def _require_running(self) -> None:
        why = self._over or self._broken
        if why is not None:
            raise type(why)(*why.args)
        if self._session.is_lost:
            raise StoreUnavailableError(
                f"{self._lender.name}: the connection was given up, and with it the transaction, since waiting for an "
                "answer was canceled"
            )

    def _require_part(self) -> _Registered:
        if self._over is not None:
            raise type(self._over)(*self._over.args)
        if self._part is None:
            raise StoreError("no part of this transaction is open: call savepoint() first")
        return self._part


async def _to_the_end(work: asyncio.Task[None]) -> None:
    """Wait for it even when canceled meanwhile, so that its outcome is always known."""
    interrupted: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted from work.exception()
    work.result()
