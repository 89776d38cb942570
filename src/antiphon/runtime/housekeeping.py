"""What is tidied in the background: inbox marks that are older than anything that could come again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock
from antiphon.storage.database import Database
from antiphon.storage.inbox import KEEP_MARKS, Inbox

log = logging.getLogger("antiphon.runtime")

EVERY = timedelta(minutes=10)
STEP = timedelta(milliseconds=200)


class Housekeeping:
    """Deletes expired inbox marks in small steps, each a short transaction of its own."""

    def __init__(self, store: Database, inbox: Inbox | None, clock: Clock, keep: timedelta = KEEP_MARKS) -> None:
        self._store, self._inbox, self._clock, self._keep = store, inbox, clock, keep
        self.is_told: Callable[[BaseException], bool] = lambda error: False
        """As `Surroundings.is_told`."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._inbox is not None:
            self._task = asyncio.create_task(self._run(self._inbox))

    async def stop(self) -> None:
        """Twice is safe."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self, inbox: Inbox) -> None:
        while True:
            await self._clock.sleep(EVERY)
            try:
                while not await self._expire(inbox):
                    await self._clock.sleep(STEP)
            except Exception as error:
                # Nobody waits for this task, so it would end in silence.
                if not self.is_told(error):
                    known = isinstance(error, AntiphonError)
                    log.warning("expired inbox marks stay for now: %s", error, exc_info=None if known else error)

    async def _expire(self, inbox: Inbox) -> bool:
        async with self._store.transaction() as tx:
            return await inbox.expire(tx, self._clock.now() - self._keep)
