"""How does a reader notice what was committed, in this process or another, without a busy loop?"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from antiphon.storage.sqlite import SqliteDatabase


class Doorbell:
    """Watches one file for all readers of a process.

    Commits of this process ring it. Other processes are noticed by polling a counter of SQLite's, quickly while
    things happen and slower when nothing does, and only while a reader waits.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        shortest: timedelta = timedelta(milliseconds=1),
        longest: timedelta = timedelta(milliseconds=20),
        patience: timedelta = timedelta(milliseconds=100),
    ) -> None:
        self._database = database
        self._shortest, self._longest = shortest.total_seconds(), longest.total_seconds()
        self._patience = patience.total_seconds()
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pause = self._shortest
        self._last_change = 0.0
        self._seen: int = -1

    def version(self) -> int:
        """What `wait` compares: take it before reading, so that nothing committed in between is missed."""
        return self._database.data_version()

    def ring(self) -> None:
        """Wake every reader."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seen: int, seconds: float) -> None:
        """Return when something was committed since `seen` was taken, or when it is rung, or after `seconds`."""
        loop = asyncio.get_running_loop()
        version = self._note_change(loop.time())
        if seconds <= 0 or version != seen:
            return
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _finish, future)
        self._waiting.add(future)
        if self._timer is None:
            self._timer = loop.call_later(self._pause, self._look)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def close(self) -> None:
        """Stop watching and let every reader go. Twice is safe."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.ring()

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._note_change(now)
        is_lively = now - self._last_change < self._patience
        self._pause = self._shortest if is_lively else min(self._pause * 1.25, self._longest)
        self._timer = loop.call_later(self._pause, self._look)

    def _note_change(self, now: float) -> int:
        version = self.version()
        if version != self._seen:
            self._seen = version
            self._last_change, self._pause = now, self._shortest
            self.ring()
        return version


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
