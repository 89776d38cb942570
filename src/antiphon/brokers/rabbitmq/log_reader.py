"""How is a stream read: on and on from a place, or once?"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.rabbitmq.driver import Lane, Link, Received
from antiphon.errors import ConnectionLostError

_PAUSES = (0.01, 0.05, 0.2)
_SOON = 0.2
"""Seconds within which the server hands out the first message, where there is one."""
MOST = 5_000
"""More messages than the server ever keeps in one piece."""


class Gap(NamedTuple):
    """Numbers that did not come. The server uses some for itself; or retention deleted what had them."""

    expected: int
    found: int
    is_first: bool
    """Whether nothing came before it since the reading began."""


class LogReader:
    """Reads one partition ahead, at most so many messages. While there is a `gap`, nothing is to be taken."""

    def __init__(self, owned: OwnedPartition, stream: str, prefetch: int, ring: Callable[[], None]) -> None:
        self.owned, self._stream, self._prefetch, self._ring = owned, stream, prefetch, ring
        self.buffer: deque[tuple[int, Lane, Received]] = deque()
        """By position: the number of messages that are done once it is."""
        self._lane: Lane | None = None
        self._next = owned.read
        self.gap: Gap | None = None
        self._has_come = False

    @property
    def is_reading(self) -> bool:
        return self._lane is not None and self._lane.is_open

    async def open(self, link: Link) -> None:
        """Read on behind what came. Raises ConnectionLostError, MissingError."""
        for pause in (*_PAUSES, None):
            lane = await link.lane()
            self._lane, self._has_come = lane, False
            lane.watch(self._ring)
            try:
                await self._consume(lane)
                return
            except ConnectionLostError:  # for a moment a stream that is new has nobody to read from
                if pause is None or not link.is_up:
                    raise
                await asyncio.sleep(pause)

    async def _consume(self, lane: Lane) -> None:
        await lane.consume(
            self._stream,
            lambda received: self._on_record(lane, received),
            self._prefetch,
            {"x-stream-offset": self._next},
        )

    async def look_into(self, link: Link) -> None:
        """Find out whether a gap is a loss: whether what should have come is before all that is kept."""
        gap = self.gap
        if gap is None:
            return
        # Whoever reads on meets one number of the server's own where a new file begins.
        may_be_lost = gap.is_first or gap.found > gap.expected + 1
        if may_be_lost and await first_of(link, self._stream) > gap.expected:
            self.owned.floor = max(self.owned.floor, gap.found)
        self.gap = None
        self._ring()

    async def go_to(self, position: int, link: Link) -> None:
        """Read on from another place."""
        await self.close()
        self.buffer.clear()
        self._next, self.gap = position, None
        await self.open(link)

    async def close(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()

    def take(self, count: int) -> list[tuple[int, Received]]:
        """The next ones, which makes room for others."""
        taken = [self.buffer.popleft() for _ in range(min(count, len(self.buffer)))]
        if taken:
            _, lane, last = taken[-1]
            if lane is self._lane and lane.is_open:
                lane.acknowledge_later(last.tag)
        return [(position, received) for position, _, received in taken]

    def _on_record(self, lane: Lane, received: Received) -> None:
        offset = offset_in(received)
        if lane is not self._lane or offset < self._next:
            return
        if offset > self._next and self.gap is None:
            self.gap = Gap(self._next, offset, is_first=not self._has_come)
        self._next, self._has_come = offset + 1, True
        self.owned.head = offset + 1
        self.buffer.append((offset + 1, lane, received))
        self._ring()


def offset_in(received: Received) -> int:
    offset = received.headers.get("x-stream-offset")
    return offset if isinstance(offset, int) else -1


async def peek(link: Link, stream: str, start: int | str | datetime, limit: int = MOST) -> list[Received]:
    """What is there from this place on, as far as the server hands it out at once. Raises MissingError."""
    for pause in (*_PAUSES, None):
        lane = await link.lane()
        try:
            return (await _begin(lane, stream, start, min(limit, 0xFFFF)))[:limit]
        except ConnectionLostError:
            if pause is None or not link.is_up:
                raise
        finally:
            await lane.close()
        await asyncio.sleep(pause)
    raise AssertionError("it returned or raised before")


async def _begin(lane: Lane, stream: str, start: int | str | datetime, prefetch: int) -> list[Received]:
    found, has_come = list[Received](), asyncio.Event()

    def take(received: Received) -> None:
        found.append(received)
        has_come.set()

    await lane.consume(stream, take, prefetch, {"x-stream-offset": start})
    with suppress(TimeoutError):
        async with asyncio.timeout(_SOON):
            await has_come.wait()
    # What there is comes in one go, and before the answer to what is asked then.
    await lane.barrier(prefetch)
    return found


async def first_of(link: Link, stream: str) -> int:
    """The position before the first message that is kept, or of the end where none is."""
    found = await peek(link, stream, "first", 1)
    return offset_in(found[0]) if found else 0


async def end_of(link: Link, stream: str) -> int:
    """The position after the last message."""
    found = await peek(link, stream, "last")
    return offset_in(found[-1]) + 1 if found else 0
