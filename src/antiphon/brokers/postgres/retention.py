"""When are messages deleted, and by whom?"""

from __future__ import annotations

import asyncio
import logging
import random

from antiphon.brokers.postgres.log import Log
from antiphon.errors import AntiphonError
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.brokers.postgres", "sql/messages.sql")
_MOST = 1000
"""Messages of a partition that one step deletes."""
_PAUSE = 2.0
"""Seconds between two looks."""

logger = logging.getLogger("antiphon.brokers.postgres")


class Retention:
    """Deletes what a topic need not keep, a bounded step at a time; one process of all on the log does it."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def run(self) -> None:
        """Delete until canceled."""
        while True:
            await asyncio.sleep(_PAUSE * random.uniform(0.75, 1.25))
            try:
                if await self._log.database.fetch(_SQL["has_limits"]):
                    await self.delete_all(waits=False)
            except Exception as error:
                # Nobody waits for this task, so it would end in silence.
                known = isinstance(error, AntiphonError)
                logger.warning("retention waits: %s", error, exc_info=None if known else error)

    async def delete_all(self, *, waits: bool) -> int:
        """Delete everything that need not be kept now; returns how many messages that was.

        Where another process is at it, it `waits` for that, or leaves it to it.
        """
        deleted = 0
        while count := await self._step(waits=waits):
            deleted += count
        return deleted

    async def _step(self, *, waits: bool) -> int:
        async with self._log.transaction() as tx:
            if waits:
                await tx.fetch(_SQL["wait_for_duty"])
            elif not await tx.fetch_one(_SQL["take_duty"], row=bool):
                return 0
            beyond = await tx.fetch(_SQL["beyond_size"], _MOST, row=tuple[int, int, int])
            if not beyond:
                beyond = await tx.fetch(_SQL["beyond_age"], _MOST, row=tuple[int, int, int])
            await tx.execute_many(_SQL["delete"], sorted(beyond))
        return sum(last - floor for _, floor, last in beyond)
