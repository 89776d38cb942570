"""How does a member of a group take, keep and give up leases in Redis?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, cast
from uuid import uuid4

import msgspec

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.ports import Partition, Start
from antiphon.brokers.redis.cursors import Cursor, Cursors, Ends, MemberRow, cursors_of, ends_of, members_of
from antiphon.brokers.redis.holdings import OwnedPartition, Watermark
from antiphon.brokers.redis.places import lane_of, moment, partition_of
from antiphon.brokers.redis.resp import Arg, Reply, pack
from antiphon.brokers.redis.scripts import Asking, Programs
from antiphon.brokers.redis.topics import Topics


class Description(msgspec.Struct):
    """How a member is described to the others."""

    name: str
    topics: list[str]


class News(NamedTuple):
    """What is known of a stream that this member reads."""

    ends: Ends
    largest: int


class Beat(NamedTuple):
    """What a member learns when it says that it lives. Times are milliseconds of the server's."""

    now: int
    resumed: int
    members: Sequence[MemberRow]
    cursors: Cursors
    news: Mapping[Partition, News]


Claim = tuple[Partition, int]
"""A partition and the epoch that its lease has now."""


class Membership:
    """One subscription's place in its group."""

    def __init__(
        self, link: Asking, programs: Programs, topics: Topics, ttl: timedelta, group: str, names: Collection[str]
    ) -> None:
        self._link, self._programs, self._topics, self._ttl = link, programs, topics, ttl
        self.group, self._names = group, sorted(set(names))
        self.id = ""
        self._description = b""

    async def join(self, name: str, start: Start) -> None:
        """Enter the group, with a place in every partition where it has none yet. Unknown topics are made."""
        await self._topics.make_missing(self._names)
        lanes = [lane for topic in self._names for lane in await self._topics.lanes(topic)]
        self.id = f"{name}-{uuid4().hex[:8]}"
        self._description = msgspec.json.encode(Description(name, self._names))
        await self._run("join", self._description, "end" if start is Start.END else "start", *lanes)

    async def leave(self) -> None:
        """Leave the group and give everything up. Twice is safe."""
        await self._run("leave")

    async def beat(self, claims: Sequence[Claim] = (), drained: Sequence[OwnedPartition] = ()) -> Beat:
        """Say that it lives, take what is claimed where that is still free, and give up what is drained."""
        args: list[Arg] = [self._description, self._ttl // timedelta(milliseconds=1), len(claims)]
        for partition, epoch in claims:
            args += (lane_of(partition), epoch)
        args.append(len(drained))
        for owned in drained:
            args += (owned.lane, owned.epoch)
        now, resumed, members, cursors, own = cast("list[object]", await self._run("beat", *args))
        news = {
            partition_of(cast("bytes", row[6]).decode()): News(ends_of(row), int(cast("bytes", row[5])))
            for row in cast("list[list[object]]", own)
        }
        return Beat(
            int(cast("bytes", now)), int(cast("bytes", resumed)), members_of(members), cursors_of(cursors), news
        )

    def check(self, id: Reply) -> None:
        """Raise DataLostError when the id of the log is another one by now."""
        self._programs.check(id)

    async def cursors(self) -> Cursors:
        """Where the group stands in each partition, and who may move it."""
        (reply,) = await self._link.send([pack(("HGETALL", f"{self._programs.prefix}:cursors:{self.group}"))], 1)
        return cursors_of(reply)

    def plan(self, beat: Beat) -> Plan:
        """What there is to do."""
        now, ttl = moment(beat.now), self._ttl
        heard = {row.id: moment(max(row.heard, beat.resumed)) for row in beat.members}
        members = [Member(row.id, frozenset(_described(row).topics), heard[row.id]) for row in beat.members]
        if self.id not in heard:
            members.append(Member(self.id, frozenset(self._names), now))
        leases = [
            # A lease is renewed by its owner's sign of life, so that it ends with what that is worth.
            Lease(partition, cursor.owner, cursor.epoch, heard.get(cursor.owner or "", moment(0)) + ttl)
            for partition, cursor in beat.cursors.items()
        ]
        return plan(self.id, members, leases, now, ttl)

    async def commit(self, moves: Sequence[Watermark]) -> list[bool]:
        """Move watermarks, never back; of each, whether the lease is still this member's."""
        args: list[Arg] = []
        for owned, position, count in moves:
            args += (owned.lane, owned.epoch, position, count)
        return [bool(each) for each in cast("list[int]", await self._run("commit", *args))]

    async def skip(self, owned: OwnedPartition, to: Start) -> tuple[str, int] | None:
        """Move the watermark over what retention deleted; where to, or None where the lease is lost."""
        found = cast("list[bytes]", await self._run("skip", owned.lane, owned.epoch, to.value))
        return (found[0].decode(), int(found[1])) if found else None

    async def _run(self, name: str, *args: Arg) -> object:
        return await self._programs.run(self._link, name, self.group, self.id, *args)


def owner_name(cursor: Cursor, members: Sequence[MemberRow]) -> str | None:
    """What the owner of a partition calls itself."""
    for row in members:
        if row.id == cursor.owner:
            return _described(row).name
    return None


def _described(row: MemberRow) -> Description:
    return msgspec.json.decode(row.description, type=Description)
