"""How does a member of a group take, keep and give up leases in the log's tables?

All times are the server's. A lease lives as long as its owner is heard of; an epoch in each cursor fences the former
owner, whatever its clock says.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple, cast

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.envelope import moment
from antiphon.brokers.offsets import CursorRow, Watermark
from antiphon.brokers.ports import Start
from antiphon.brokers.postgres.arrays import numbers, texts
from antiphon.brokers.postgres.log import Joined, Log
from antiphon.brokers.postgres.topics import Topics
from antiphon.storage.database import Database, Row, Transaction
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.brokers.postgres", "sql/groups.sql")
_MICROSECOND = timedelta(microseconds=1)
_SILENCES = 100
"""A member not heard of for so many leases is forgotten; should it live, it enters again with its next heartbeat."""

News = tuple[int, int | None, int, int, int, int]
"""Generation, and of a partition id, head, floor, largest message and epoch."""


class Look(NamedTuple):
    """A group at one moment: what it is like, and what this member should do."""

    now: int
    generation: int
    cursors: Sequence[CursorRow]
    plan: Plan


class Membership:
    """One subscription's place in its group."""

    def __init__(self, log: Log, topics: Topics, ttl: timedelta, group: str, names: Collection[str]) -> None:
        self._log, self._topics = log, topics
        self._ttl, self._ticks = ttl, ttl // _MICROSECOND
        self.group, self._names = group, frozenset(names)
        self._group_id = self.id = 0
        self._name = ""
        self._heard = 0
        """When the server last heard of this member."""
        self._outage: tuple[int, int] = (0, 0)
        """Whoever lived at the first moment is taken to live until the second: nobody was heard of in between."""

    async def join(self, name: str, start: Start) -> None:
        """Enter the group, with a place in every partition where it has none yet. Unknown topics are made."""
        self._name = name
        await self._topics.make_missing(self._names)
        async with self._log.transaction() as tx:
            self._group_id = await enter_group(tx, self.group)
            await tx.execute(_SQL["make_cursors"], self._group_id, texts(sorted(self._names)), start is Start.END)
            ((member_id,),) = await tx.fetch(_SQL["join"], self._group_id, name, self._topics_text(), self._ticks)
            self.id = cast("int", member_id)
            await tx.execute(_SQL["change_generation"], self._group_id)

    async def leave(self) -> None:
        """Leave the group and give everything up."""
        async with self._log.transaction() as tx:
            await tx.execute(_SQL["leave"], self._group_id, self.id)
            await tx.execute(_SQL["change_generation"], self._group_id)

    async def look(self, store: Database | Transaction | None = None) -> Look:
        """What there is to do, from what is committed. Raises StoreCorruptError when it is another log."""
        rows = await (store or self._log.database).fetch(_SQL["look"], self._group_id, self._log.id)
        times = [(row[1], row[2]) for row in rows if row[0] == 0]
        if not times:
            raise self._log.gone()
        now, generation = cast("tuple[int, int]", times[0])
        silences = {cast("int", row[1]): cast("int", row[2]) for row in rows if row[0] == 1}
        self._note_outage(now)
        heard = {member: self._believed(now, silent_at) for member, silent_at in silences.items()}
        cursors = [_cursor(row, heard) for row in rows if row[0] == 2]
        await self._topics.learn_partitions(cursor.partition_id for cursor in cursors)
        members = [Member(str(self.id), self._names, moment(now))]
        members += [
            Member(str(row[1]), frozenset(json.loads(cast("str", row[5]))), moment(heard[row[1]]) - self._ttl)
            for row in rows
            if row[0] == 1 and isinstance(row[1], int) and row[1] != self.id
        ]
        todo = plan(str(self.id), members, self._leases(cursors), moment(now), self._ttl)
        return Look(now, generation, cursors, todo)

    async def act(self, drained: Iterable[tuple[int, int]]) -> Sequence[CursorRow]:
        """Be heard of, claim, and give up the `drained` (partition id and epoch). Returns the cursors after that."""
        group, me = self._group_id, self.id
        async with self._log.transaction() as tx:
            look = await self.look(tx)
            await tx.execute(_SQL["beat"], me, group, self._name, self._topics_text(), self._ticks)
            await tx.execute(_SQL["forget_silent"], group, _SILENCES * self._ticks)
            given_up = list(drained)
            if given_up:
                await tx.execute(_SQL["give_up"], group, me, *_columns(given_up))
            claims = [(self._topics.id_of(lease.partition), lease.epoch - 1) for lease in look.plan.claim]
            if claims:
                await tx.execute(_SQL["claim"], group, me, *_columns(claims))
            if given_up or claims:
                await tx.execute(_SQL["change_generation"], group)
            cursors = await self.cursors(tx)
        self._heard = look.now
        return cursors

    async def cursors(self, store: Database | Transaction | None = None) -> list[CursorRow]:
        """Where the group stands in each partition, and who may move it."""
        rows = await (store or self._log.database).fetch(
            _SQL["cursors"], self._group_id, row=tuple[int, int | None, int, int]
        )
        await self._topics.learn_partitions(row[0] for row in rows)
        return [CursorRow(partition_id, owner, epoch, 0, position) for partition_id, owner, epoch, position in rows]

    async def news(self) -> tuple[int, list[News]]:
        """The group's generation, and how each partition is that this member owns. Raises StoreCorruptError."""
        rows = await self._log.database.fetch(_SQL["news"], self._group_id, self.id, self._log.id)
        if not rows:
            raise self._log.gone()
        known = cast("list[News]", rows)
        return known[0][0], [row for row in known if row[1] is not None]

    async def move(self, moves: Sequence[Watermark]) -> list[Watermark]:
        """Move these watermarks, never back; returns those whose leases still are this member's."""
        async with self._log.transaction() as tx:
            still = await self._move(tx, [(owned.id, owned.epoch, offset) for owned, offset in moves])
        return [(owned, offset) for owned, offset in moves if owned.id in still]

    async def move_in(self, tx: Joined, moves: Sequence[Watermark], held: Collection[tuple[int, int]]) -> set[int]:
        """Move these watermarks in `tx`, and hold other leases, by partition id and epoch.

        Returns the ids of those that still are this member's; nobody takes them before `tx` ends.
        """
        return await self._move(
            tx, [*((owned.id, owned.epoch, offset) for owned, offset in moves), *((*each, 0) for each in held)]
        )

    async def skip(self, partition_id: int, epoch: int, position: int, count: int) -> None:
        """Move the watermark over `count` messages that retention deleted unread."""
        async with self._log.transaction() as tx:
            await tx.execute(_SQL["skip"], self._group_id, partition_id, self.id, epoch, position, count)

    async def _move(self, tx: Transaction, rows: Sequence[tuple[int, int, int]]) -> set[int]:
        if not rows:
            return set()
        found = await tx.fetch(_SQL["commit"], self._group_id, self.id, *_columns(rows), row=int)
        return set(found)

    def _note_outage(self, now: int) -> None:
        if self._heard and now - self._heard > self._ticks:
            self._outage = (self._heard, now + self._ticks)
            self._heard = now

    def _believed(self, now: int, silent_at: int) -> int:
        """Until when a member is taken to live."""
        since, until = self._outage
        return max(silent_at, until) if now < until and silent_at > since else silent_at

    def _leases(self, cursors: Iterable[CursorRow]) -> list[Lease]:
        return [
            Lease(
                self._topics.partition(row.partition_id),
                None if row.owner is None else str(row.owner),
                row.epoch,
                moment(row.expires),
            )
            for row in cursors
        ]

    def _topics_text(self) -> str:
        return json.dumps(sorted(self._names))


def _cursor(row: Row, heard: dict[int, int]) -> CursorRow:
    _, partition_id, owner, epoch, position, _ = cast("tuple[int, int, int | None, int, int, None]", row)
    return CursorRow(partition_id, owner, epoch, 0 if owner is None else heard.get(owner, 0), position)


def _columns(rows: Iterable[Sequence[int]]) -> list[str]:
    return [numbers(column) for column in zip(*rows, strict=True)]


async def enter_group(tx: Transaction, name: str) -> int:
    """The id of the group, which is made when it is new."""
    await tx.execute(_SQL["make_group"], name)
    (group_id,) = await tx.fetch(_SQL["group_id"], name, row=int)
    return group_id
