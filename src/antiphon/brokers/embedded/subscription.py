"""One member's reading of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.embedded.doorbell import Doorbell
from antiphon.brokers.embedded.group_commit import GroupCommit
from antiphon.brokers.embedded.membership import CursorRow, Membership
from antiphon.brokers.embedded.reading import OwnedPartition, read_partition, share_limit
from antiphon.brokers.embedded.topics import Topics
from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition, Start, SubscribeOptions
from antiphon.errors import ClosedError, LeaseLostError, PositionLostError, StoreCorruptError, UsageError
from antiphon.storage.database import Transaction
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

logger = logging.getLogger("antiphon.brokers.embedded")

_LONGEST_GOODBYE = 5.0
"""Seconds that closing waits for its turn to write."""

_Watermark = tuple[OwnedPartition, int]


class EmbeddedSubscription:
    """One member's reading of the log; offers `commit_in`, too.

    A partition reported LOST is not read again before `notices` was called, so that what its reader still holds
    can never be committed as if it came after.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        topics: Topics,
        membership: Membership,
        writes: GroupCommit,
        doorbell: Doorbell,
        options: SubscribeOptions,
        grace: timedelta,
        on_close: Callable[[EmbeddedSubscription], None],
    ) -> None:
        self._database, self._topics, self._membership = database, topics, membership
        self._writes, self._bell = writes, doorbell
        self._lost_start, self._grace, self._on_close = options.lost, grace.total_seconds(), on_close
        self._owned: dict[int, OwnedPartition] = {}
        self._notices: list[Notice] = []
        self._fenced: set[int] = set()
        self._seen = -1
        self._acting = asyncio.Lock()
        self._has_alarm = self._is_closed = False

    @property
    def id(self) -> int:
        """Which member of all groups it is."""
        return self._membership.id

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """As `LogSubscription.fetch`; returns early, empty, when a partition was revoked or lost."""
        self._require_open("fetch")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.total_seconds()
        await asyncio.sleep(0)  # a reader that never has to wait lets others run
        while not self._is_closed:
            seen = self._bell.version()
            if seen != self._seen:
                await self._look_for_news(seen)
            await self._pass_over_lost()
            if self._ready_to_leave():
                await self.keep_up()
            deliveries = self._take(limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._has_alarm or left <= 0:
                self._has_alarm = False
                return deliveries
            await self._bell.wait(seen, left)
        return ()

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`."""
        self._require_open("commit")
        moves, lost = self._sorted_out(watermarks)
        moves = [(owned, offset) for owned, offset in moves if offset > owned.done]
        if moves:
            held = await self._writes.write(lambda tx: self._move(tx, moves))
            self._note_done(held)
            if len(held) < len(moves):
                self._adopt(self._membership.look().cursors)
        if lost:
            self._tell(NoticeKind.LOST, lost)

    async def commit_in(self, tx: Transaction, watermarks: Mapping[Partition, str]) -> None:
        """As `StoreLogSubscription.commit_in`."""
        self._require_open("commit")
        own = joined(tx, self._database)
        moves, lost = self._sorted_out(watermarks)
        held = self._move(own, moves)
        lost += [owned.partition for owned, offset in moves if (owned, offset) not in held]
        if lost:
            self._adopt(self._membership.look().cursors)
            raise LeaseLostError(
                f"group {self._membership.group!r}: {_names(lost)} moved to another reader or was sought: "
                "roll back, the work is repeated there"
            )
        own.after_commit(lambda: self._note_done(held))

    def pause(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.pause`. A partition that is not owned is left out."""
        self._set_paused(partitions, True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.resume`."""
        self._set_paused(partitions, False)
        self._bell.ring()

    def notices(self) -> Sequence[Notice]:
        """As `LogSubscription.notices`."""
        taken, self._notices = self._notices, []
        self._has_alarm = False
        if self._fenced:
            self._fenced.clear()
            self._bell.ring()
        return taken

    async def close(self) -> None:
        """As `LogSubscription.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._bell.ring()
        self._on_close(self)
        try:
            async with asyncio.timeout(_LONGEST_GOODBYE), self._acting:
                await self._writes.write(self._membership.leave)
            self._bell.announce()
        except TimeoutError:
            # Somebody keeps a transaction open. The others see by our lifeline that we are gone.
            logger.warning("group %s was left without a word: the file is locked", self._membership.group)
        finally:
            self._owned.clear()
            self._membership.let_go()

    async def keep_up(self) -> None:
        """Renew the leases, take what is free, give up what is wanted elsewhere; called every moment by the broker."""
        if self._acting.locked():
            return
        async with self._acting:
            if self._is_closed:
                return
            todo = self._membership.look()
            self._adopt(todo.cursors)
            self._prepare_to_leave(self._membership.partition_ids(todo.plan.give_up))
            leaving = self._ready_to_leave()
            if todo.plan.claim or todo.dead or leaving or self._membership.is_beat_due():
                await self._act(leaving)

    async def _act(self, leaving: Sequence[OwnedPartition]) -> None:
        drained = [(owned.id, owned.epoch) for owned in leaving]
        dead = await self._writes.write(lambda tx: self._membership.act(tx, drained))
        self._membership.note_beat(dead)
        if leaving:
            self._bell.announce()
        left = [owned for owned in leaving if self._owned.get(owned.id) is owned]
        self._drop(NoticeKind.REVOKED, [owned for owned in left if owned.is_drained])
        self._drop(NoticeKind.LOST, [owned for owned in left if not owned.is_drained])
        self._adopt(self._membership.look().cursors)

    def _prepare_to_leave(self, wanted: set[int]) -> None:
        latest = asyncio.get_running_loop().time() + self._grace
        for owned in self._owned.values():
            if owned.id not in wanted:
                if owned.leave_by is not None:
                    owned.leave_by = None
                    self._bell.ring()
            elif owned.leave_by is None:
                owned.leave_by = latest

    def _ready_to_leave(self) -> list[OwnedPartition]:
        now = asyncio.get_running_loop().time()
        return [o for o in self._owned.values() if o.leave_by is not None and (o.is_drained or o.leave_by <= now)]

    def _adopt(self, cursors: Iterable[CursorRow]) -> None:
        """Bring what we think we own in line with the table."""
        me = self._membership.id
        rows = {row.partition_id: row for row in cursors if row.owner == me}
        self._drop(NoticeKind.LOST, [owned for owned in self._owned.values() if not _is_current(owned, rows)])
        gained = [row for row in rows.values() if row.partition_id not in self._owned]
        for row in gained:
            partition = self._topics.partition(row.partition_id)
            self._owned[row.partition_id] = OwnedPartition(partition, row.partition_id, row.epoch, row.position)
        if gained:
            self._seen = -1
            self._tell(NoticeKind.ASSIGNED, [self._owned[row.partition_id].partition for row in gained])

    async def _look_for_news(self, seen: int) -> None:
        self._seen = seen
        if self._membership.is_changed():
            await self.keep_up()
            self._seen = seen
        fresh = self._membership.news()
        for partition_id, head, floor, largest, epoch in fresh:
            owned = self._owned.get(partition_id)
            if owned is not None and owned.epoch == epoch:
                owned.head, owned.floor, owned.largest = head, floor, largest

    def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        ready = [o for o in self._owned.values() if o.head > o.read and self._may_read(o)]
        deliveries: list[Delivery] = []
        shares = share_limit(ready, limit)
        is_tight = sum(owned.largest * count for owned, count in shares) > max_bytes
        for index, (owned, count) in enumerate(shares):
            least = 0 if deliveries else 1
            budget = max_bytes // (len(shares) - index) if is_tight else max_bytes
            taken, is_whole = read_partition(self._database, owned, count, budget, least=least)
            if not is_whole:
                self._expect_lost(owned)
            elif taken:
                if is_tight:
                    max_bytes -= sum(len(each.message.data or b"") for each in taken)
                owned.read += len(taken)
                deliveries += taken
                # Who was served stands at the end of the line.
                del self._owned[owned.id]
                self._owned[owned.id] = owned
        return deliveries

    def _may_read(self, owned: OwnedPartition) -> bool:
        return not (owned.is_paused or owned.is_lost or owned.leave_by is not None or owned.id in self._fenced)

    def _expect_lost(self, owned: OwnedPartition) -> None:
        for partition_id, _, floor, _, _ in self._membership.news():
            if partition_id == owned.id:
                owned.floor = floor
        if not owned.is_lost and owned.id in self._owned:
            raise StoreCorruptError(
                f"{self._database.path}: {_names([owned.partition])} has no whole row of messages after {owned.read}: "
                "something else than this software deleted from the log; seek the group behind the gap"
            )

    async def _pass_over_lost(self) -> None:
        for owned in list(self._owned.values()):
            if not owned.is_lost or owned.is_paused or owned.id in self._fenced:
                continue
            if self._lost_start is Start.STOP:
                topic, number = owned.partition
                group = self._membership.group
                raise PositionLostError(group, topic, number, str(owned.read), str(owned.floor + 1))
            if owned.is_drained:
                await self._skip(owned, owned.head if self._lost_start is Start.END else owned.floor)

    async def _skip(self, owned: OwnedPartition, position: int) -> None:
        count = position - owned.read
        await self._writes.write(lambda tx: self._membership.skip(tx, owned.id, owned.epoch, position, count))
        owned.read = owned.done = max(owned.read, position)

    def _sorted_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[_Watermark], list[Partition]]:
        """The watermarks of what we own, as offsets; and the partitions that are not ours any more."""
        moves: list[_Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned = self._owned.get(self._topics.id_of(partition))
            offset = offset_of(position)
            if owned is None or owned.id in self._fenced or offset > owned.read:
                lost.append(partition)
            else:
                moves.append((owned, offset))
        return moves, lost

    def _move(self, tx: SqliteTransaction, moves: Sequence[_Watermark]) -> list[_Watermark]:
        move = self._membership.move
        return [(owned, offset) for owned, offset in moves if move(tx, owned.id, owned.epoch, offset)]

    def _note_done(self, moved: Sequence[_Watermark]) -> None:
        for owned, offset in moved:
            owned.done = max(owned.done, offset)
            if owned.is_drained and (owned.is_lost or owned.leave_by is not None):
                self._bell.ring()  # a waiting fetch has something to do now

    def _drop(self, kind: NoticeKind, gone: Sequence[OwnedPartition]) -> None:
        for owned in gone:
            del self._owned[owned.id]
            if kind is NoticeKind.LOST:
                self._fenced.add(owned.id)
        if gone:
            self._has_alarm = True
            self._tell(kind, [owned.partition for owned in gone])

    def _tell(self, kind: NoticeKind, partitions: Sequence[Partition]) -> None:
        self._notices.append(Notice(kind, tuple(partitions)))
        self._bell.ring()

    def _set_paused(self, partitions: Sequence[Partition], paused: bool) -> None:
        for partition in partitions:
            owned = self._owned.get(self._topics.id_of(partition))
            if owned is not None:
                owned.is_paused = paused

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self._membership.group!r}", tried)


def _is_current(owned: OwnedPartition, rows: Mapping[int, CursorRow]) -> bool:
    row = rows.get(owned.id)
    return row is not None and row.epoch == owned.epoch


def offset_of(position: str) -> int:
    """Raises UsageError for what is no position of this log."""
    if position.isascii() and position.isdigit():
        return int(position)
    raise UsageError(f"{position!r} is no position of the embedded log: positions are whole numbers from 0")


def joined(tx: Transaction, database: SqliteDatabase) -> SqliteTransaction:
    """The transaction, when it writes to the log's own file. Raises UsageError."""
    if isinstance(tx, SqliteTransaction) and tx.database is database:
        return tx
    raise UsageError(
        f"the transaction does not write to {database.url}: begin it on the broker's own database, broker.database"
    )


def _names(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{topic}/{number}" for topic, number in partitions)
