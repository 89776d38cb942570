"""What has retention deleted that a group did not read? And is the stream still the one that it read?

The partitions of a topic share a stream, so that a gap in its numbers does not say whose messages it was. What a
member knows is up to where it received everything. What is deleted behind that counts as lost, unless the server was
being asked for it all the time and would have handed it over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta

from antiphon.brokers.nats.link import Link
from antiphon.brokers.nats.reading import Owned
from antiphon.brokers.nats.topics import StreamInfo, Topics
from antiphon.errors import DataLostError, PositionLostError, UnknownTopicError


class Floors:
    """Looks after the beginnings of the streams that one subscription reads."""

    def __init__(self, link: Link, topics: Topics) -> None:
        self._link, self._topics = link, topics
        self._looked = float("-inf")
        self._ends: dict[str, int] = {}
        """By topic, the last place when it was looked at last."""

    def is_due(self, now: float, every: timedelta) -> bool:
        return now - self._looked >= every.total_seconds() * 0.9

    async def look(self, names: Collection[str]) -> dict[str, StreamInfo]:
        """How the streams of these topics are. Raises DataLostError when one is gone."""
        order = sorted(names)
        try:
            infos = await asyncio.gather(*(self._topics.info(name) for name in order))
        except UnknownTopicError as error:
            raise DataLostError(
                f"topic {error.topic!r} is gone from {self._link.url}: the server lost its data, or somebody deleted "
                "its stream: restore it, or start this process again to begin anew"
            ) from error
        return dict(zip(order, infos, strict=True))

    async def check(self, held: Sequence[Owned], now: float) -> None:
        """Note of each what retention took. Raises DataLostError when a stream is another than the one read."""
        infos = await self.look({owned.partition.topic for owned in held})
        for owned in held:
            info = infos[owned.partition.topic]
            self._require_same(owned, info)
            self._check(owned, info.state.first_seq)
        self._looked = now
        self._ends.update({name: info.state.last_seq for name, info in infos.items()})

    def seen(self, owned: Owned) -> int:
        """Up to where nothing of it can be unread but what was handed out, as far as that is known for certain."""
        if not owned.is_drained or owned.buffer or owned.is_lost:
            return owned.done
        if self._has_waited(owned):
            return max(owned.done, owned.mark, self._ends.get(owned.partition.topic, 0))
        return max(owned.done, owned.mark)

    async def way_over(self, owned: Owned, *, to_end: bool) -> tuple[int, int]:
        """Where to go on behind what was lost, and how many messages were passed over, as far as can be known."""
        info = (await self.look({owned.partition.topic}))[owned.partition.topic]
        floor = info.state.first_seq - 1
        # Of places nobody knows whose messages were there; each partition counts its share.
        count = owned.missing + -(-owned.missing_places // owned.topic.partitions)
        if not to_end:
            return max(owned.read, floor), count
        first = await self._link.read(
            owned.topic.stream, {"seq": max(owned.read, floor) + 1, "next_by_subj": owned.subject, "batch": 1}
        )
        unread = int((first[0].headers or {}).get("Nats-Num-Pending", "0")) + 1 if first else 0
        return max(owned.read, info.state.last_seq), count + unread

    def _check(self, owned: Owned, first: int) -> None:
        owned.floor = first - 1
        if owned.suspected:
            self._settle(owned)
            return
        if owned.floor <= owned.mark:
            owned.mark = max(owned.mark, owned.received if owned.consumer else owned.read)
            return
        if not self._has_waited(owned):
            owned.lose(owned.floor)
        owned.mark = owned.floor

    def _settle(self, owned: Owned) -> None:
        """Fewer messages were left than there could be: has retention come so far?"""
        if owned.gap is not None and owned.floor > owned.gap:
            owned.missing += owned.suspected
            owned.suspected = 0
        elif not owned.is_lost:
            owned.close_gap()
        owned.mark = max(owned.mark, owned.floor, owned.received)

    def _has_waited(self, owned: Owned) -> bool:
        """Whether the server was being asked for more all the time since the last look, and had nothing."""
        return not owned.buffer and owned.outstanding > 0 and 0.0 < owned.waits_since <= self._looked

    def _require_same(self, owned: Owned, info: StreamInfo) -> None:
        cursor = owned.cursor
        if cursor.position > info.state.last_seq or (cursor.stream and cursor.stream != info.created):
            topic, number = owned.partition
            raise DataLostError(
                f"group {cursor.group!r} stands at {cursor.position} of {topic}/{number}, but its stream was made anew "
                f"at {info.created} and has {info.state.last_seq} messages: the server lost its data, or somebody made "
                f"the topic again: seek the group (antiphon groups seek {cursor.group}) to where it should begin"
            )


def lost_error(group: str, owned: Owned) -> PositionLostError:
    topic, number = owned.partition
    return PositionLostError(group, topic, number, str(owned.read), str(owned.floor + 1))
