"""One member's reading of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.embedded.doorbell import Doorbell
from antiphon.brokers.embedded.group_commit import GroupCommit, joined
from antiphon.brokers.embedded.membership import Membership
from antiphon.brokers.embedded.reading import read_partition
from antiphon.brokers.embedded.topics import Topics
from antiphon.brokers.offsets import OffsetHoldings, OwnedPartition, Watermark
from antiphon.brokers.places import offset_of
from antiphon.brokers.ports import Delivery, Notice, Partition, Start, SubscribeOptions
from antiphon.errors import ClosedError, LeaseLostError, PositionLostError, StoreCorruptError, StoreError
from antiphon.storage.database import Transaction
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

logger = logging.getLogger("antiphon.brokers.embedded")

_LONGEST_GOODBYE = 5.0
"""Seconds that closing waits for its turn to write."""


class EmbeddedSubscription:
    """One member's reading of the log; offers `commit_in`, too."""

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
        self._database, self._membership = database, membership
        self._writes, self._bell = writes, doorbell
        self._lost_start, self._grace, self._on_close = options.lost, grace.total_seconds(), on_close
        self._held = OffsetHoldings(topics, doorbell.ring)
        self._seen = -1
        self._acting = asyncio.Lock()
        self._is_closed = False

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
            if self._held.leaving(loop.time()):
                await self.keep_up()
            deliveries = self._take(limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._held.has_alarm or left <= 0:
                self._held.has_alarm = False
                return deliveries
            await self._bell.wait(seen, left)
        return ()

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`."""
        self._require_open("commit")
        moves, lost = self._held.sort_out(watermarks)
        if lost:
            # Told before anything is awaited: the reader takes it to be about all it was handed until then.
            self._held.lose(lost)
            self._adopt()
        moves = [(owned, offset) for owned, offset in moves if offset > owned.done]
        if moves:
            moved = await self._writes.write(lambda tx: self._move(tx, moves))
            self._held.note_done(moved)
            if len(moved) < len(moves):
                self._adopt()

    async def commit_in(
        self, tx: Transaction, watermarks: Mapping[Partition, str], held: Collection[Partition] = ()
    ) -> None:
        """As `StoreLogSubscription.commit_in`."""
        self._require_open("commit")
        own = joined(tx, self._database)
        moves, lost = self._held.sort_out(watermarks)
        moved = self._move(own, moves)
        lost += [owned.partition for owned, offset in moves if (owned, offset) not in moved]
        lost += self._held.lost_of(held, lambda owned: self._membership.owns(own, owned.id, owned.epoch))
        if lost:
            self._adopt()
            raise LeaseLostError(
                f"group {self._membership.group!r}: {_names(lost)} moved to another reader or was sought: "
                "roll back, the work is repeated there"
            )
        own.after_commit(lambda: self._held.note_done(moved))

    def pause(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.pause`. A partition that is not held is left out."""
        self._held.set_paused(partitions, True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.resume`."""
        self._held.set_paused(partitions, False)
        self._bell.ring()

    def pause_topic(self, topic: str) -> None:
        """As `LogSubscription.pause_topic`."""
        self._held.set_topic_paused(topic, True)

    def resume_topic(self, topic: str) -> None:
        """As `LogSubscription.resume_topic`."""
        self._held.set_topic_paused(topic, False)
        self._bell.ring()

    def is_before(self, one: str, other: str) -> bool:
        """As `LogSubscription.is_before`."""
        return offset_of(one) < offset_of(other)

    def notices(self) -> Sequence[Notice]:
        """As `LogSubscription.notices`."""
        return self._held.take_notices()

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
        except (TimeoutError, StoreError) as error:
            # The file is locked, or takes no more. The others see by our lifeline that we are gone.
            reason = str(error) or "the file is locked"
            logger.warning("group %s was left without a word: %s", self._membership.group, reason)
        finally:
            self._held.clear()
            self._membership.let_go()

    async def keep_up(self) -> None:
        """Renew the leases, take what is free, give up what is wanted elsewhere. The broker calls it every moment."""
        if self._acting.locked():
            return
        async with self._acting:
            if self._is_closed or (self._membership.is_quiet() and not self._held.is_leaving):
                return
            todo = self._membership.look()
            now = asyncio.get_running_loop().time()
            self._adopt()
            self._held.prepare_to_leave(todo.plan.give_up, now + self._grace)
            leaving = self._held.leaving(now)
            if todo.plan.claim or todo.dead or leaving or self._membership.is_beat_due():
                await self._act(leaving)

    async def _act(self, leaving: Sequence[OwnedPartition]) -> None:
        drained = [(owned.id, owned.epoch) for owned in leaving]
        dead = await self._writes.write(lambda tx: self._membership.act(tx, drained))
        self._membership.note_beat(dead)
        if leaving:
            self._bell.announce()
        self._held.let_go(leaving)
        self._adopt()

    def _adopt(self) -> None:
        """Bring what we think we hold in line with the table."""
        if self._held.adopt(self._membership.cursors(), self._membership.id):
            self._seen = -1

    async def _look_for_news(self, seen: int) -> None:
        if self._membership.is_changed():
            await self.keep_up()
        self._seen = seen
        held = self._held.by_id()
        for partition_id, head, floor, largest, epoch in self._membership.news():
            owned = held.get(partition_id)
            if owned is not None and owned.epoch == epoch:
                owned.head, owned.floor, owned.largest = head, floor, largest

    def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        shares = self._held.shares(limit)
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
                self._held.move_back(owned)
        return deliveries

    def _expect_lost(self, owned: OwnedPartition) -> None:
        """Messages that should be there are not: retention was faster, or the lease is gone, or the file is damaged."""
        fresh = [row for row in self._membership.news() if row[0] == owned.id]
        owned.floor = fresh[0][2] if fresh else owned.floor
        if fresh and not owned.is_lost:
            raise StoreCorruptError(
                f"{self._database.path}: messages of {_names([owned.partition])} after {owned.read} are missing: "
                "something else than this software deleted them; seek the group behind the gap"
            )

    async def _pass_over_lost(self) -> None:
        for owned in self._held:
            if not owned.is_lost or not self._held.is_open(owned):
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

    def _move(self, tx: SqliteTransaction, moves: Sequence[Watermark]) -> list[Watermark]:
        move = self._membership.move
        return [(owned, offset) for owned, offset in moves if move(tx, owned.id, owned.epoch, offset)]

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self._membership.group!r}", tried)


def _names(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{topic}/{number}" for topic, number in partitions)
