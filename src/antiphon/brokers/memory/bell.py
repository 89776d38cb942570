"""How a fetch waits for something to happen, without polling."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from antiphon.events.clock import Clock

_SHORTEST = 1e-6
"""Below this, in seconds, a wait is over: no clock counts finer."""


def left(clock: Clock, deadline: float) -> float:
    """Seconds of `clock` until its monotonic time is `deadline`; zero when that has passed."""
    seconds = deadline - clock.monotonic()
    return seconds if seconds > _SHORTEST else 0.0


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
        # A canceled timer rings nobody: it would ring for the next wait, whose end cancels the next timer, and so on.
        timer.add_done_callback(lambda done: None if done.cancelled() else self._event.set())
        try:
            await self._event.wait()
        finally:
            timer.cancel()
