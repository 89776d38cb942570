"""How a fetch waits for something to happen, without polling."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from antiphon.events.clock import Clock

_SHORTEST = 1e-6
"""Below this, in seconds, a wait is over: no clock counts finer."""


class Bell:
    """Rung when there may be something new. A ring is kept until `clear`, so none is missed."""

    __slots__ = ("_clock", "_event")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def clear(self) -> None:
        self._event.clear()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after so many seconds of the clock."""
        timer = asyncio.ensure_future(self._clock.sleep(timedelta(seconds=seconds)))
        timer.add_done_callback(lambda _: self._event.set())
        try:
            await self._event.wait()
        finally:
            timer.cancel()

    def deadline(self, wait: timedelta) -> float:
        """The clock's monotonic time at which `wait` from now is over."""
        return self._clock.monotonic() + wait.total_seconds()

    def left(self, deadline: float) -> float:
        """Seconds until `deadline`; zero when it has passed."""
        left = deadline - self._clock.monotonic()
        return left if left > _SHORTEST else 0.0
