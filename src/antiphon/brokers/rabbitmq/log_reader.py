"""How is a stream read on and on, from a place?"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.peeking import Peeking, offset_in
from antiphon.errors import ConnectionLostError

_PAUSES = (0.01, 0.05, 0.2)


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

    async def look_into(self, peeking: Peeking) -> None:
        """Find out whether a gap is a loss: whether what should have come is before all that is kept."""
        gap = self.gap
        if gap is None:
            return
        # Whoever reads on meets one number of the server's own where a new file begins.
        may_be_lost = gap.is_first or gap.found > gap.expected + 1
        if may_be_lost and await peeking.first(self._stream) > gap.expected:
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
