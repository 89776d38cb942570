"""Where messages wait that come again after a delay: in queues that nobody reads and that let go of them in time."""

from __future__ import annotations

from bisect import bisect_right
from datetime import timedelta
from typing import Final

from antiphon.brokers.rabbitmq.codec import route
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.names import Names, delay_arguments
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.clock import Clock

_A_MILLISECOND = timedelta(milliseconds=1)
LONGEST: Final = timedelta(days=20)
_STEPS: Final = sorted({round(10 ** (step / 10)) for step in range(100)})
"""Messages whose delays, in milliseconds, are between two of these wait in one queue. It lets go of none before those
that came before it, so that one may come later than it should, by at most a quarter of its delay."""
_SURE = timedelta(hours=1)


class Later:
    """Makes those queues as they are needed; the server takes away what is unused for long."""

    def __init__(self, link: Link, names: Names, clock: Clock) -> None:
        self._link, self._names, self._clock = link, names, clock
        self._made: dict[int, float] = {}

    async def way(self, delay: timedelta, queue: str) -> tuple[bytes, str]:
        """How to publish what is to come to `queue` after `delay`, and when it expires."""
        if delay > LONGEST:
            raise UnsupportedCapabilityError(self._link.shown, f"delay of {delay}", f"{LONGEST} is the longest")
        milliseconds = max(1, -(-delay // _A_MILLISECOND))
        index = bisect_right(_STEPS, milliseconds)
        step, longest = _STEPS[index - 1], _STEPS[min(index, len(_STEPS) - 1)]
        name = self._names.delay(step)
        if self._clock.monotonic() >= self._made.get(step, 0.0):
            await self._link.do(lambda lane: _make(lane, name, longest))
            self._made[step] = self._clock.monotonic() + _SURE.total_seconds()
        return route(name, queue), str(milliseconds)

    def forget(self) -> None:
        self._made.clear()


async def _make(lane: Lane, name: str, longest: int) -> None:
    await lane.declare_exchange(name, "fanout")
    await lane.declare_queue(name, delay_arguments(min(longest * _A_MILLISECOND, LONGEST)))
    await lane.bind(name, name, "")
