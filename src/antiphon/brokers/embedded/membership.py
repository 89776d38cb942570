"""How does a member of a group take, keep and give up leases in the log's tables?"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

from antiphon.brokers.assignment import Lease, Member, Plan, plan
from antiphon.brokers.embedded.appending import Query
from antiphon.brokers.embedded.life import LifeLine, bury, is_dead
from antiphon.brokers.embedded.topics import Topics
from antiphon.brokers.envelope import microseconds, moment
from antiphon.brokers.offsets import CursorRow
from antiphon.brokers.ports import Start
from antiphon.errors import StoreReadOnlyError
from antiphon.events.clock import Clock
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

_SQL = load_queries("antiphon.brokers.embedded", "sql/groups.sql")

_SILENCES = 100
"""A member not heard of for so many leases is forgotten; should it live, it enters again with its next heartbeat."""


_MemberRow = tuple[int, str, str, int]
"""Id, token, topics, and when it was last heard of."""


class Round(NamedTuple):
    """What one member should do, as far as can be seen without writing."""

    plan: Plan
    dead: Sequence[tuple[int, str]]


class Membership:
    """One subscription's place in its group. Nothing here waits; whoever holds it brings the transactions."""

    def __init__(
        self,
        database: SqliteDatabase,
        topics: Topics,
        clock: Clock,
        ttl: timedelta,
        folder: Path | None,
        group: str,
        names: Collection[str],
    ) -> None:
        self._database, self._topics, self._clock, self._ttl = database, topics, clock, ttl
        self.group, self._names = group, frozenset(names)
        self._folder, self._life = folder, LifeLine(folder)
        self._group_id = self.id = 0
        self._name = ""
        self._last_beat: datetime | None = None
        self._generation = self._looked_at = -1

    def hold(self) -> None:
        """Become visible as alive; before `join`, so that nobody takes a newcomer for dead."""
        try:
            self._life.hold()
        except OSError as error:
            raise StoreReadOnlyError(
                f"{self._folder}: cannot make the file that shows that this member lives: {error.strerror}: "
                "make the folder of the log writable"
            ) from error

    def join(self, tx: SqliteTransaction, name: str, start: Start) -> None:
        """Enter the group, with a place in every partition where it has none yet. Unknown topics are made."""
        self._name = name
        self._topics.make_missing(tx, sorted(self._names))
        self._group_id = enter_group(tx, self.group)
        make = _SQL["make_cursor_at_end" if start is Start.END else "make_cursor_at_start"]
        ids = (partition_id for topic in self._names for partition_id in self._topics.ids_in(tx, topic))
        tx.send_many(make, [(self._group_id, partition_id) for partition_id in ids])
        now = self._clock.now()
        ((member_id,),) = tx.query(
            _SQL["join"], (self._group_id, name, self._life.token, self._topics_text(), microseconds(now))
        )
        self.id = cast("int", member_id)
        tx.send(_SQL["change_generation"], (self._group_id,))

    def leave(self, tx: SqliteTransaction) -> None:
        """Leave the group and give everything up."""
        tx.send(_SQL["leave"], (self._group_id, self.id))
        tx.send(_SQL["remove_member"], (self.id,))
        tx.send(_SQL["change_generation"], (self._group_id,))

    def let_go(self) -> None:
        """Be visible no more. Twice is safe."""
        self._life.drop()

    def is_changed(self) -> bool:
        """Whether members or leases of the group changed since the last look."""
        generation = self._read_generation()
        changed, self._generation = generation != self._generation, generation
        return changed

    def is_quiet(self) -> bool:
        """Whether a look would find what the last one found: nobody came, went, died or fell silent since."""
        if self.is_beat_due() or self._looked_at != self._read_generation():
            return False
        now = self._clock.now()
        members = cast("list[_MemberRow]", self._database.read(_SQL["members"], (self._group_id,)))
        return not any(
            moment(heard) + self._ttl <= now or is_dead(self._folder, token)
            for member_id, token, _, heard in members
            if member_id != self.id
        )

    def _read_generation(self) -> int:
        ((generation,),) = cast("list[tuple[int]]", self._database.read(_SQL["generation"], (self._group_id,)))
        return generation

    def is_beat_due(self) -> bool:
        """Whether the leases should be renewed by now."""
        last = self._last_beat
        return last is None or not timedelta() <= self._clock.now() - last < self._ttl / 3

    def look(self) -> Round:
        """What there is to do, from what is committed."""
        self._looked_at = self._read_generation()
        return self._round(self._database.read)

    def cursors(self) -> list[CursorRow]:
        """Where the group stands in each partition, and who may move it."""
        return _cursors(self._database.read, self._group_id)

    def act(self, tx: SqliteTransaction, drained: Iterable[tuple[int, int]]) -> Sequence[tuple[int, str]]:
        """Claim and renew, and give up the `drained` (partition id and epoch). Returns the dead that were removed."""
        now = self._clock.now()
        todo = self._round(tx.query)
        group, me = self._group_id, self.id
        tx.send(
            _SQL["return_member"], (me, group, self._name, self._life.token, self._topics_text(), microseconds(now))
        )
        tx.send(_SQL["renew"], (group, me, microseconds(now + self._ttl)))
        given_up = [(group, partition_id, me, epoch) for partition_id, epoch in drained]
        tx.send_many(_SQL["give_up"], given_up)
        claims = [
            (group, self._topics.id_of(lease.partition), me, lease.epoch, microseconds(lease.expires))
            for lease in todo.plan.claim
        ]
        tx.send_many(_SQL["claim"], claims)
        tx.send_many(_SQL["remove_member"], [(member_id,) for member_id, _ in todo.dead])
        tx.send(_SQL["forget_silent"], (group, microseconds(now - _SILENCES * self._ttl)))
        if given_up or claims or todo.dead:
            tx.send(_SQL["change_generation"], (group,))
        return todo.dead

    def note_beat(self, dead: Sequence[tuple[int, str]]) -> None:
        """Call it when what `act` wrote is durable."""
        self._last_beat = self._clock.now()
        for _, token in dead:
            bury(self._folder, token)

    def news(self) -> list[tuple[int, int, int, int, int]]:
        """Of each partition that this member owns: id, head, floor, largest message, epoch."""
        rows = self._database.read(_SQL["news"], (self._group_id, self.id))
        return cast("list[tuple[int, int, int, int, int]]", rows)

    def move(self, tx: SqliteTransaction, partition_id: int, epoch: int, position: int) -> bool:
        """Move the watermark, never back; False when the lease is somebody else's by now."""
        return bool(tx.query(_SQL["commit"], (self._group_id, partition_id, self.id, epoch, position)))

    def owns(self, tx: SqliteTransaction, partition_id: int, epoch: int) -> bool:
        """Whether the lease is still this one; nobody takes it before `tx` ends."""
        return bool(tx.query(_SQL["owns"], (self._group_id, partition_id, self.id, epoch)))

    def skip(self, tx: SqliteTransaction, partition_id: int, epoch: int, position: int, count: int) -> None:
        """Move the watermark over `count` messages that retention deleted unread."""
        tx.send(_SQL["skip"], (self._group_id, partition_id, self.id, epoch, position, count))

    def _round(self, query: Query) -> Round:
        now = self._clock.now()
        members: list[Member] = [Member(str(self.id), self._names, now)]
        dead: list[tuple[int, str]] = []
        for member_id, token, topics, heard in cast("list[_MemberRow]", query(_SQL["members"], (self._group_id,))):
            if member_id == self.id:
                continue
            gone = is_dead(self._folder, token)
            if gone:
                dead.append((member_id, token))
            members.append(Member(str(member_id), frozenset(json.loads(topics)), moment(heard), gone))
        leases = self._leases(_cursors(query, self._group_id))
        return Round(plan(str(self.id), members, leases, now, self._ttl), dead)

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


def _cursors(query: Query, group_id: int) -> list[CursorRow]:
    rows = cast("list[tuple[int, int | None, int, int, int]]", query(_SQL["leases"], (group_id,)))
    return [CursorRow(*row) for row in rows]


def enter_group(tx: SqliteTransaction, name: str) -> int:
    """The id of the group, which is made when it is new."""
    tx.send(_SQL["make_group"], (name,))
    ((group_id,),) = tx.query(_SQL["group_id"], (name,))
    return cast("int", group_id)
