"""Who goes on with redrives once they were begun? Every service does, so that one outlives whoever began it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta

from antiphon.deadletters.redrive import advance
from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock
from antiphon.storage.database import Database
from antiphon.storage.redrives import running_redrives

log = logging.getLogger("antiphon.deadletters")

IDLE = timedelta(seconds=1)
"""How often it looks for redrives: one cheap read."""
BUSY = timedelta(milliseconds=50)
"""How soon it looks again at those that run, after a step of any."""
WAITING = timedelta(milliseconds=400)
"""How often it looks at them at least, while they wait for their pace or for what becomes of their letters."""


class Redriving:
    """A runner that releases, stops and ends the redrives of a store. Any number may run on one store at once."""

    name = "redrives"

    def __init__(
        self, store: Database, clock: Clock, idle: timedelta = IDLE, released: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._clock, self._idle = store, clock, idle
        self._released = released
        self.is_told: Callable[[BaseException], bool] = lambda error: False
        """Whether somebody else tells of this error, as of a store that is away."""
        self._task: asyncio.Task[None] | None = None
        self._running: list[str] = []
        self._trouble = ""

    async def start(self) -> None:
        """As `Runner.start`."""
        self._task = asyncio.create_task(self._run(), name="antiphon redrives")

    async def drain(self) -> None:
        """As `Runner.drain`. What it was about to do is done by the next one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def status(self) -> Mapping[str, str | int | float | bool]:
        """How many redrives run, and what is in their way, if anything is."""
        return {"running": len(self._running), "trouble": self._trouble}

    async def _run(self) -> None:
        pause = BUSY
        while True:
            has_gone_on = False
            try:
                has_gone_on = await self.work()
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 - nobody waits for this task, so it would end in silence
                self._tell(error)
            pause = BUSY if has_gone_on else min(2 * pause, WAITING)
            await self._clock.sleep(pause if self._running else self._idle)

    def _tell(self, error: Exception) -> None:
        """Once for each trouble, not once for each try."""
        if not self.is_told(error) and repr(error) != self._trouble:
            known = isinstance(error, AntiphonError)
            log.warning("redrives wait for now: %s", error, exc_info=None if known else error)
        self._trouble = repr(error)

    async def work(self) -> bool:
        """Do everything that is due now; says whether that was anything."""
        self._running = await running_redrives(self._store)
        return any([await self._work_on(id) for id in self._running])

    async def _work_on(self, id: str) -> bool:
        steps = 0
        while await advance(self._store, self._clock, id):
            self._released()  # each step waits for its commit, so others have their turns
            steps += 1
        return steps > 0
