"""How does a reader notice what was committed, in this process or another, without asking the server all the time?"""

from __future__ import annotations

import asyncio

from antiphon.brokers.postgres.log import HINTS
from antiphon.storage.postgres import PostgresDatabase


class Bell:
    """Wakes the readers of a process: at what happens in it, and at the hints of others."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._waiting: set[asyncio.Future[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self.rings = 0
        """How often it was rung: take it before looking, so that no ring in between is missed."""
        self.news = 0
        """How often something was committed, as far as is known."""

    def listen(self) -> None:
        """Hear what others commit from now on. Twice is safe."""
        if self._listening is None:
            loop = asyncio.get_running_loop()
            hearing = self._database.listen(HINTS, self.tell)
            self._listening = loop.create_task(hearing, name="antiphon-postgres-hints")

    def announce(self) -> None:
        """Tell every reader, in this process and, soon, in the others, that something was committed."""
        self.tell()
        self._database.hint(HINTS)

    def tell(self) -> None:
        """Tell every reader of this process that something may have been committed."""
        self.news += 1
        self.ring()

    def ring(self) -> None:
        """Wake every reader of this process."""
        self.rings += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def version(self) -> int:
        """What `wait` compares."""
        return self.rings

    async def wait(self, rings: int, seconds: float) -> None:
        """Return when it was rung since `rings` was taken, or after `seconds`."""
        if seconds <= 0 or rings != self.rings:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _finish, future)
        self._waiting.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    async def close(self) -> None:
        """Hear nothing more and let every reader go. Twice is safe."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})
        self.ring()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
