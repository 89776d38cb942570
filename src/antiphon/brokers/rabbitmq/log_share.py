"""Which share of a group is a member's, by what all of them wrote down?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.offsets import CursorRow, OwnedPartition
from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq.course import Mark, Seat
from antiphon.brokers.rabbitmq.log_group import LogGroup
from antiphon.errors import UnknownTopicError

_START = datetime(2000, 1, 1, tzinfo=UTC)
ME = 1
"""The number under which a member knows itself."""


class Numbers:
    """Partitions by number, as `OffsetHoldings` wants them."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self.all = sorted(partitions)
        self._ids = {partition: id for id, partition in enumerate(self.all)}

    def partition(self, partition_id: int) -> Partition:
        return self.all[partition_id]

    def id_of(self, partition: Partition) -> int:
        if partition not in self._ids:
            raise UnknownTopicError(f"{partition.topic}/{partition.number}")
        return self._ids[partition]


class Share:
    """One member's part of its group. Nothing here waits but `show_life`; moments are those of the loop."""

    def __init__(self, group: LogGroup, seat: Seat, numbers: Numbers, lease: timedelta) -> None:
        self._group, self._seat, self._numbers, self._lease = group, seat, numbers, lease
        self._beat_at = float("-inf")

    def rows(self) -> list[CursorRow]:
        """Where the group is, and what of it is this member's."""
        return [
            CursorRow(
                self._numbers.id_of(partition), ME if place.owner == self._seat.member else None, place.epoch, 0,
                place.position,
            )
            for partition, place in self._group.course.places.items()
            if partition.topic in self._seat.topics
        ]  # fmt: skip

    def has(self, owned: OwnedPartition) -> bool:
        """Whether it is still this member's, as it was."""
        place = self._group.course.places.get(owned.partition)
        return place is not None and (place.owner, place.epoch) == (self._seat.member, owned.epoch)

    def has_any(self) -> bool:
        return any(place.owner == self._seat.member for place in self._group.course.places.values())

    def plan(self, now: float) -> Plan:
        """What this member claims and gives up."""
        course, me = self._group.course, self._seat.member
        members = [
            Member(id, frozenset(seat.topics), _moment(now if id == me else course.heard[id]))
            for id, seat in course.seats.items()
        ]
        leases = [
            Lease(partition, place.owner, place.epoch, self._expiry(place.owner))
            for partition, place in course.places.items()
            if partition.topic in self._seat.topics
        ]
        return plan(me, members, leases, _moment(now), self._lease)

    async def show_life(self, now: float) -> None:
        """Let the others hear of this member where it is time. Raises ConnectionLostError."""
        if now >= self.next_beat() or self._seat.member not in self._group.course.seats:
            await self._group.write([Mark("join", seats=[self._seat])])
            self._beat_at = now

    def next_beat(self) -> float:
        # A quarter of the lease: two that are late or lost cost nothing.
        return self._beat_at + self._lease.total_seconds() / 4

    def _expiry(self, owner: str | None) -> datetime:
        # A member keeps all its leases by one sign of life.
        heard = self._group.course.heard.get(owner or "")
        return _START if heard is None else _moment(heard) + self._lease


def _moment(loop_time: float) -> datetime:
    return _START + timedelta(seconds=loop_time)
