"""How are services killed while orders flow: often enough, each of them, and for how long?"""

from __future__ import annotations

import asyncio
from random import Random
from time import perf_counter

from examples.shop.processes import SERVICES, Processes

KILLS_EACH = 5
PAUSE_SECONDS = 0.5
"""Between two kills, on average: more than one kill a second."""


class Chaos:
    """Kills one process after another, of the service killed least so far, as long as orders flow."""

    def __init__(self, processes: Processes, seed: int) -> None:
        self._processes = processes
        self._chance = Random(seed)
        self._pause = self._last = 0.0
        self._task = asyncio.create_task(self._run())

    @property
    def is_enough(self) -> bool:
        """Whether every service was killed as often as it should be."""
        return self._done() == KILLS_EACH * len(SERVICES)

    @property
    def share(self) -> float:
        """How much of it is over, from 0 to 1, moving evenly: orders flow along with it, also between two kills."""
        since = min(1.0, (perf_counter() - self._last) / self._pause) if self._pause else 0.0
        return min(1.0, (self._done() + 0.9 * since) / (KILLS_EACH * len(SERVICES)))

    def _done(self) -> int:
        return sum(min(kills, KILLS_EACH) for kills in self._processes.kills.values())

    async def _run(self) -> None:
        while True:
            self._last, self._pause = perf_counter(), PAUSE_SECONDS * (0.5 + self._chance.random())
            await asyncio.sleep(self._pause)
            if killable := self._processes.killable():
                self._processes.kill(min(killable, key=lambda service: self._processes.kills[service]))

    async def end(self) -> None:
        """No more kills. Twice is safe."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
