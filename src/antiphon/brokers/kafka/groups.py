"""Where do groups stand, and how are they moved?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from antiphon.brokers.kafka.client import Admin, Committed, KafkaException, Record
from antiphon.brokers.kafka.envelope import moment
from antiphon.brokers.kafka.faults import fault
from antiphon.brokers.kafka.looking import Looker, Span
from antiphon.brokers.kafka.places import DONE, SEEKS, Place, offset_of, position, standing
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.kafka.topics import Topics
from antiphon.brokers.ports import Lag, Partition, Seek, SeekTo, Start
from antiphon.errors import UnknownTopicError, UsageError
from antiphon.events.ids import new_id

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
SOMEBODY = "a member"
"""Who owns what is read by a group that has members and does not say which."""


class Standing(NamedTuple):
    """Where a group stands in a partition, what of it is unread, and who reads it."""

    group: str
    partition: Partition
    place: Place
    span: Span
    owner: str | None


class Groups:
    """The consumer groups of one cluster."""

    def __init__(self, admin: Admin, positions: Positions, topics: Topics, peeking: Looker, where: str) -> None:
        self._admin, self._positions, self._topics = admin, positions, topics
        self._peeking, self._where = peeking, where

    async def begin(self, group: str, topics: Sequence[str], start: Start) -> None:
        """Give the group a position in each partition where it has none, so that what comes from now on is its."""
        try:
            everything = [partition for topic in topics for partition in self._topics.partitions(topic)]
            committed = await self._positions.committed(group, everything)
            missing = [partition for partition in everything if partition not in committed]
            if not missing:
                return
            known = {partition.topic for partition in committed}
            at_end = [p for p in missing if start is Start.END and p.topic not in known]
            places = dict(await self._admin.starts([p for p in missing if p not in at_end]))
            places |= await self._admin.ends(at_end)
            # Refused where the group has members: then those have begun already, or do at their next assignment.
            await self._positions.move(group, {p: Committed(offset, "") for p, offset in places.items()})
        except KafkaException as error:
            raise fault(error, self._where, f"join group {group!r}") from error

    async def names(self) -> list[str]:
        """The names of all groups, but those that hold our commands."""
        try:
            return [name for name in await self._admin.groups() if not name.endswith(SEEKS)]
        except KafkaException as error:
            raise fault(error, self._where, "list the groups") from error

    async def lag(self, group: str) -> list[Lag]:
        """One entry for each partition that the group has a position in."""
        try:
            everything = await self._topics.everything()
            commands = await self._positions.committed(group + SEEKS, everything)
            places = standing(await self._positions.committed(group, everything), commands)
            if not places:
                return []
            starts, ends, owners = await asyncio.gather(
                self._admin.starts(places), self._admin.ends(places), self._admin.owners(group)
            )
            spans = {p: Span(max(places[p].offset, starts.get(p, 0)), end) for p, end in ends.items()}
            oldest = await self._peeking.read(spans, 1)
        except KafkaException as error:
            raise fault(error, self._where, f"measure the lag of group {group!r}") from error
        now = datetime.now(UTC)
        owners = dict.fromkeys(places, SOMEBODY) if owners is None else owners
        return [
            _lag(Standing(group, partition, places[partition], spans[partition], owners.get(partition)), oldest, now)
            for partition in sorted(spans)
        ]

    async def seek(self, group: str, topic: str, to: Seek) -> Mapping[Partition, Place]:
        """Move the group; returns where it goes on, for the members of this process.

        Raises UnknownTopicError, and UsageError for a position that is not there.
        """
        partitions = await self._topics.partitions_of(topic)
        try:
            token = new_id().replace("-", "")[-12:]
            targets = await self._targets(topic, partitions, to)
            places = {partition: Place(offset, token) for partition, offset in targets.items()}
            # First the command: whoever asks where the group stands gets one answer from now on.
            await self._positions.move(group + SEEKS, {p: Committed(at, token) for p, (at, token, _) in places.items()})
            if await self._positions.move(group, {p: place.committed() for p, place in places.items()}):
                await self._positions.move(group + SEEKS, dict.fromkeys(places, DONE))
            return places
        except KafkaException as error:
            raise fault(error, self._where, f"move group {group!r}") from error

    async def _targets(self, topic: str, partitions: Sequence[Partition], to: Seek) -> Mapping[Partition, int]:
        ends = await self._admin.ends(partitions)
        if isinstance(to, SeekTo):
            return ends if to is SeekTo.END else await self._admin.starts(partitions)
        if isinstance(to, datetime):
            return {**ends, **await self._admin.since(partitions, (to - _EPOCH) // _MILLISECOND)}
        starts = await self._admin.starts(partitions)
        return {p: _exact(topic, p, place, starts, ends) for p, place in to.items()}


def _exact(
    topic: str, partition: Partition, wanted: str, starts: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> int:
    offset = offset_of(wanted) + 1
    if partition.topic != topic or partition not in ends:
        raise UnknownTopicError(f"{partition.topic}/{partition.number}")
    first, end = starts.get(partition, 0), ends[partition]
    if not first <= offset <= end:
        raise UsageError(
            f"cannot seek {topic}/{partition.number} to {wanted}: "
            f"it holds the positions {position(first)} to {position(end)}"
        )
    return offset


def _lag(standing: Standing, oldest: Mapping[Partition, Sequence[Record]], now: datetime) -> Lag:
    # Between a group's offset and the end there may be nothing but the marks of transactions.
    unread = oldest.get(standing.partition)
    first = unread[0] if unread else None
    return Lag(
        group=standing.group,
        partition=standing.partition,
        position=position(standing.place.offset),
        end=position(standing.span.end),
        messages=0 if first is None else standing.span.end - (first.offset() or 0),
        age=timedelta() if first is None else max(timedelta(), now - moment(first.timestamp()[1])),
        owner=standing.owner,
        skipped=standing.place.skipped,
    )
