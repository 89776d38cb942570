"""How do writes share a durable commit: with those of other tasks, or with the caller's own?"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Generic, TypeVar

from antiphon.errors import ClosedError, UsageError
from antiphon.storage.database import Transaction
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

T = TypeVar("T")

_LONGEST_WAIT = 5.0
"""Seconds that closing waits while somebody else keeps a transaction open."""
_LONGEST_TURN = 0.02
"""Seconds after which no further write joins a commit."""


class _Work(Generic[T]):
    __slots__ = ("future", "result", "write")

    def __init__(self, write: Callable[[SqliteTransaction], T], future: asyncio.Future[T]) -> None:
        self.write, self.future = write, future
        self.result: T

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def succeed(self) -> None:
        if not self.future.done():
            self.future.set_result(self.result)


class GroupCommit:
    """Joins the writes that come while another commit waits for the disk into one transaction.

    Each gets a verdict of its own: when one of several fails, all are undone and done again one by one.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._pending: deque[_Work[Any]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[SqliteTransaction], T]) -> T:
        """Run `work` in a transaction and return its result once that is durable.

        It may run twice, the first time undone. Raises what it raises, or StoreError. Canceling gives up the
        answer, not the write.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._pending.append(_Work(work, future))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_all())
        return await future

    async def close(self) -> None:
        """Return when everything asked for has its verdict; what has not got its turn by then is given up."""
        writer = self._writer
        if writer is not None and not writer.done():
            await asyncio.wait({writer}, timeout=_LONGEST_WAIT)
            writer.cancel()
            await asyncio.wait({writer})

    async def _write_all(self) -> None:
        while self._pending:
            works: list[_Work[Any]] = []
            try:
                await _commit(await self._database.begin(), self._pending, works)
            except Exception as error:  # noqa: BLE001 - it is the verdict of whoever asked for the write
                await self._give_verdicts(works, error)
            except BaseException:
                self._abandon(works)
                raise

    async def _give_verdicts(self, works: list[_Work[Any]], error: Exception) -> None:
        """All of them failed together. Where there were several, find out whose fault it was."""
        if not works:
            works = list(self._pending)
            self._pending.clear()
        elif len(works) > 1:
            for work in works:
                await self._write_alone(work)
            return
        for work in works:
            work.fail(error)

    async def _write_alone(self, work: _Work[Any]) -> None:
        try:
            await _commit(await self._database.begin(), deque([work]), [])
        except Exception as error:  # noqa: BLE001 - it is the verdict of this write
            work.fail(error)

    def _abandon(self, works: list[_Work[Any]]) -> None:
        for work in (*works, *self._pending):
            work.fail(ClosedError(self._database.url, "confirm a write"))
        self._pending.clear()


async def _commit(tx: SqliteTransaction, waiting: deque[_Work[Any]], taken: list[_Work[Any]]) -> None:
    """Write what waits, moving it to `taken`, for as long as may be: event loop and other writers stand still."""
    latest = perf_counter() + _LONGEST_TURN
    try:
        while waiting and (not taken or perf_counter() < latest):
            work = waiting.popleft()
            taken.append(work)
            work.result = work.write(tx)
        await tx.commit()
    except BaseException:
        await tx.rollback()
        raise
    for work in taken:
        work.succeed()


def joined(tx: Transaction, database: SqliteDatabase) -> SqliteTransaction:
    """The transaction, when it writes to the log's own file. Raises UsageError."""
    if isinstance(tx, SqliteTransaction) and tx.database is database:
        return tx
    raise UsageError(
        f"the transaction does not write to {database.url}: begin it on the broker's own database, broker.database"
    )
