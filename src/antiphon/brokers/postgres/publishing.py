"""How do publishes that come at the same time share a durable commit?"""

from __future__ import annotations

import asyncio
from collections import deque

from antiphon.brokers.postgres.appending import Appender, Batch
from antiphon.brokers.postgres.log import Log
from antiphon.errors import ClosedError, ConstraintError, StatementError

_LONGEST_WAIT = 5.0
"""Seconds that closing waits for the server."""
_MOST_MESSAGES, _MOST_BYTES = 10_000, 16 * 1024 * 1024
"""What one commit takes has some so many, or is one batch."""


class _Work:
    __slots__ = ("batch", "future")

    def __init__(self, batch: Batch, future: asyncio.Future[None]) -> None:
        self.batch, self.future = batch, future

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def succeed(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Publications:
    """Joins the batches that come while another one commits into one transaction.

    Each gets a verdict of its own: when the server refuses several together, each is written alone.
    """

    def __init__(self, log: Log, appender: Appender) -> None:
        self._log, self._appender = log, appender
        self._pending: deque[_Work] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def write(self, batch: Batch) -> None:
        """Return when the batch is durable. Raises StoreError. Canceling gives up the answer, not the write."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._pending.append(_Work(batch, future))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_all(), name="antiphon-postgres-publishing")
        await future

    async def close(self) -> None:
        """Return when everything asked for has its verdict; what has none by then is given up. Twice is safe."""
        writer = self._writer
        if writer is not None and not writer.done():
            await asyncio.wait({writer}, timeout=_LONGEST_WAIT)
            writer.cancel()
            await asyncio.wait({writer})

    async def _write_all(self) -> None:
        while self._pending:
            works = self._take()
            try:
                await self._write(works)
            except StatementError as error:
                await self._write_apart(works, error)
            except Exception as error:  # noqa: BLE001 - it is the verdict of whoever asked for the write
                for work in works:
                    work.fail(error)
            except BaseException:
                self._abandon(works)
                raise

    def _take(self) -> list[_Work]:
        works = [self._pending.popleft()]
        messages, size = len(works[0].batch.outgoing), works[0].batch.bytes
        while self._pending:
            batch = self._pending[0].batch
            messages, size = messages + len(batch.outgoing), size + batch.bytes
            if messages > _MOST_MESSAGES or size > _MOST_BYTES:
                break
            works.append(self._pending.popleft())
        return works

    async def _write(self, works: list[_Work]) -> None:
        async with self._log.transaction() as tx:
            await self._appender.append(tx, [work.batch for work in works])
        for work in works:
            work.succeed()

    async def _write_apart(self, works: list[_Work], error: StatementError) -> None:
        """The server refused all of them together. Where there were several, find out whose fault it was."""
        if len(works) == 1:
            works[0].fail(self._told(error))
            return
        for work in works:
            try:
                await self._write([work])
            except Exception as its_own:  # noqa: BLE001 - it is the verdict of this batch
                work.fail(self._told(its_own))

    def _told(self, error: Exception) -> Exception:
        """In a log that is another one nothing has a place."""
        if not isinstance(error, ConstraintError):
            return error
        gone = self._log.gone()
        gone.__cause__ = error
        return gone

    def _abandon(self, works: list[_Work]) -> None:
        for work in (*works, *self._pending):
            work.fail(ClosedError(self._log.database.url, "confirm a write"))
        self._pending.clear()
