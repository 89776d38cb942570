"""How does a reader notice what was committed, in this process or another, without a busy loop?"""

from __future__ import annotations

import asyncio

from antiphon.brokers.embedded.calls import Calls
from antiphon.storage.sqlite import SqliteDatabase

# Seconds between two looks: right after something happened, after a long silence, and where calls are heard.
_SHORTEST, _LONGEST, _WHEN_CALLED = 0.001, 0.02, 0.2
_PATIENCE = 0.1
"""Seconds after a change in which the next one is expected."""


class Doorbell:
    """Watches one file for all readers of a process.

    Every commit rings it, in this process and, by a call, in the others. What no call tells (another program's
    writes, a lost call) is noticed by polling a counter of SQLite's while a reader waits: rarely where calls are
    heard, else quickly while things happen and slower when nothing does.
    """

    def __init__(self, database: SqliteDatabase, calls: Calls) -> None:
        self._database, self._calls = database, calls
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pause = _SHORTEST
        self._last_change = 0.0
        self._seen: int = -1
        self._is_announcing = False

    def listen(self) -> None:
        """Be rung by other processes from now on. Twice is safe."""
        self._calls.listen(self._look)

    def announce(self) -> None:
        """Wake every reader of this process and of the others, once for all that is announced in one turn."""
        if not self._is_announcing:
            self._is_announcing = True
            asyncio.get_running_loop().call_soon(self._wake_all)

    def ring(self) -> None:
        """Wake every reader of this process."""
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
            self._timer = loop.call_later(self._next_pause(loop.time()), self._poll)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def close(self) -> None:
        """Stop watching and let every reader go. Twice is safe."""
        self._calls.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.ring()

    def _wake_all(self) -> None:
        self._is_announcing = False
        self.ring()
        self._calls.call()

    def version(self) -> int:
        """What `wait` compares: take it before reading, so that nothing committed in between is missed."""
        return self._database.data_version()

    def _poll(self) -> None:
        self._timer = None
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._look()
            self._timer = loop.call_later(self._next_pause(loop.time()), self._poll)

    def _look(self) -> None:
        if self._waiting:
            self._note_change(asyncio.get_running_loop().time())

    def _next_pause(self, now: float) -> float:
        if self._calls.is_heard:
            return _WHEN_CALLED
        is_lively = now - self._last_change < _PATIENCE
        self._pause = _SHORTEST if is_lively else min(self._pause * 1.25, _LONGEST)
        return self._pause

    def _note_change(self, now: float) -> int:
        version = self.version()
        if version != self._seen:
            self._seen = version
            self._last_change, self._pause = now, _SHORTEST
            self.ring()
        return version


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
