"""Who of a group lives, and who should read what? Judged by what changes while one looks, never by anybody's clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.nats.table import Cursor, Kept, Seat, Standing
from antiphon.brokers.ports import Partition

_START = datetime(2000, 1, 1, tzinfo=UTC)
_SILENCES = 10
"""A member not heard of for so many leases is forgotten; should it live, it enters again with its next heartbeat."""


class Membership:
    """What one member knows of the others. Nothing here waits; moments are those of the loop."""

    def __init__(self, me: str, topics: frozenset[str], ttl: timedelta) -> None:
        self.me, self._topics, self._ttl = me, topics, ttl
        self._heard: dict[str, tuple[int, float]] = {}
        """By member: the revision last seen, and when it was seen first."""
        self._looked = float("-inf")

    def hear(self, members: Mapping[str, Kept[Seat]], now: float) -> None:
        """Take in who gave a sign of life since the last look.

        After a time in which nobody could be seen, as when the server was away, all are given a whole lease.
        """
        was_blind = now - self._looked > self._ttl.total_seconds() / 2
        heard: dict[str, tuple[int, float]] = {}
        for id, (_, revision) in members.items():
            before = self._heard.get(id)
            is_same = before is not None and before[0] == revision and not was_blind
            heard[id] = before if before is not None and is_same else (revision, now)
        self._heard, self._looked = heard, now

    def plan(self, standing: Standing, now: float) -> Plan:
        """What this member claims and gives up."""
        moment = _moment(now)
        members = [Member(self.me, self._topics, moment)]
        for id, (seat, _) in standing.members.items():
            if id != self.me:
                members.append(Member(id, frozenset(seat.topics), _moment(self._heard[id][1])))
        leases = [self._lease(partition, kept.value) for partition, kept in standing.cursors.items()]
        return plan(self.me, members, leases, moment, self._ttl)

    def silent(self, now: float) -> list[str]:
        """Members that nobody will hear of again."""
        longest = _SILENCES * self._ttl.total_seconds()
        return [id for id, (_, since) in self._heard.items() if id != self.me and now - since > longest]

    def _lease(self, partition: Partition, cursor: Cursor) -> Lease:
        # A member keeps all its leases by one sign of life.
        heard = self._heard.get(cursor.owner or "")
        return Lease(partition, cursor.owner, cursor.epoch, _moment(heard[1]) + self._ttl if heard else _START)


def _moment(loop_time: float) -> datetime:
    return _START + timedelta(seconds=loop_time)
