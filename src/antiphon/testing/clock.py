"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from antiphon.errors import UsageError

_TURNS = 20
"""Turns of the event loop that the tasks get after each step: enough for a chain of awaits to come to rest."""


class VirtualClock:
    """Time under the control of a test: it stands still until `advance`, and whoever sleeps wakes in order."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed = timedelta()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> datetime:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    async def sleep(self, duration: timedelta) -> None:
        if duration <= timedelta():
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self._elapsed + duration, next(self._order), sleeper))
        await sleeper

    async def advance(self, duration: timedelta) -> None:
        """Let `duration` pass: everyone whose sleep ends in it wakes at the right moment and runs until it rests."""
        if duration < timedelta():
            raise UsageError(f"time cannot go back, by {-duration}: advance by something positive")
        until = self._elapsed + duration
        await self.rest()
        while self._sleepers and self._sleepers[0][0] <= until:
            wake_at, _, sleeper = heappop(self._sleepers)
            if sleeper.done():  # it was canceled
                continue
            self._elapsed = max(self._elapsed, wake_at)
            sleeper.set_result(None)
            await self.rest()
        self._elapsed = until
        await self.rest()

    @property
    def sleepers(self) -> int:
        """How many tasks wait for time to pass."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    async def rest(self) -> None:
        """Let tasks run, without letting time pass."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
