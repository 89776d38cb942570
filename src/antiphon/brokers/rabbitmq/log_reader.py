"""How is a stream read on and on, from a place?"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.peeking import Peeking, offset_in
from antiphon.errors import ConnectionLostError

_PAUSES = (0.01, 0.05, 0.2)
DOUBT, _AGAIN = 5.0, 0.5
"""For how many seconds a stream that reads as empty is looked into, and how often."""
SILENCE = 60.0
"""Seconds without a message after which a reader is begun anew where it stands."""


class Gap(NamedTuple):
    """Numbers that did not come. The server uses some for itself; or retention deleted what had them."""

    expected: int
    found: int
    met: float
    """When, by the clock of the loop."""


class LogReader:
    """Reads one partition ahead, at most so many messages. What comes behind a gap is not taken before it is known
    whether something was lost there, and everything before it was taken.
    """

    def __init__(self, owned: OwnedPartition, stream: str, prefetch: int, ring: Callable[[], None]) -> None:
        self.owned, self._stream, self._prefetch, self._ring = owned, stream, prefetch, ring
        self.buffer: deque[tuple[int, Lane, Received]] = deque()
        """By position: the number of messages that are done once it is."""
        self._lane: Lane | None = None
        self._next = owned.read
        self._doubts: deque[Gap] = deque()
        """What may be lost, in order."""
        self._losses: deque[Gap] = deque()
        """What is, before all doubts."""
        self._heard = (-1, 0.0)
        """What was to come next when somebody last asked whether anything comes, and since when."""

    @property
    def is_reading(self) -> bool:
        return self._lane is not None and self._lane.is_open

    @property
    def _reach(self) -> int:
        """The last position that may be taken."""
        first = next(iter(self._losses or self._doubts), None)
        return sys.maxsize if first is None else first.expected

    def is_silent(self, now: float) -> bool:
        """Whether nothing came for so long that it may be forgotten.

        Where a file ends and the next one is being deleted, the server takes that for the end of the stream, and does
        not look again: neither for what is in later files nor for what is published.
        """
        if self.buffer or self._heard[0] != self._next:
            self._heard = self._next, now
        return now - self._heard[1] >= SILENCE

    async def open(self, link: Link) -> None:
        """Read on behind what came, where need be anew. Raises ConnectionLostError, MissingError."""
        if self.is_reading:
            await self.close()
        self._heard = -1, 0.0
        for pause in (*_PAUSES, None):
            lane = self._lane = await link.lane()
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
        """Find out whether gaps are losses: whether what should have come is before all that is kept."""
        asked = list(self._doubts)
        if not asked:
            return
        first = await peeking.first(self._stream)
        loop = asyncio.get_running_loop()
        if first is None and loop.time() - asked[0].met < DOUBT:
            loop.call_later(_AGAIN, self._ring)  # it is busy; or what came is deleted by now, too
            return
        for gap in asked:
            if self._doubts and self._doubts[0] is gap:
                self._doubts.popleft()
                if first is None or first > gap.expected:
                    self._losses.append(gap)
        self._meet_loss()
        self._ring()

    async def go_to(self, position: int, link: Link) -> None:
        """Read on from another place."""
        await self.close()
        for each in (self.buffer, self._doubts, self._losses):
            each.clear()
        self._next = position
        await self.open(link)

    async def close(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()

    def take(self, count: int, room: int, *, has_any: bool) -> list[tuple[int, Received]]:
        """The next ones, which makes room for others: what fits into so many bytes, but one where nobody has any."""
        taken: list[tuple[int, Lane, Received]] = []
        reach = self._reach
        while self.buffer and len(taken) < count:
            position, _, received = self.buffer[0]
            if position > reach or (room < len(received.body) and (has_any or taken)):
                break
            taken.append(self.buffer.popleft())
            room -= len(received.body)
        if taken:
            self.owned.read, lane, last = taken[-1]
            if lane is self._lane and lane.is_open:
                lane.acknowledge_later(last.tag)
            self._meet_loss()
        return [(position, received) for position, _, received in taken]

    def _meet_loss(self) -> None:
        """Say that what comes next is lost, where it is."""
        if self._losses and self.owned.read >= self._losses[0].expected:
            self.owned.floor = max(self.owned.floor, self._losses.popleft().found)

    def _on_record(self, lane: Lane, received: Received) -> None:
        offset = offset_in(received)
        if lane is not self._lane or offset < self._next:
            return
        # Where a file begins, the server uses one number itself. Whoever lost a message misses that number, too.
        if offset > self._next + 1:
            self._doubts.append(Gap(self._next, offset, asyncio.get_running_loop().time()))
        self._next = self.owned.head = offset + 1
        self.buffer.append((offset + 1, lane, received))
        self._ring()
