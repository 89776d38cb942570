"""One member's reading of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.offsets import CursorRow, OffsetHoldings, OwnedPartition
from antiphon.brokers.places import offset_of
from antiphon.brokers.ports import Delivery, Notice, Partition, Start, SubscribeOptions
from antiphon.brokers.postgres.bell import Bell
from antiphon.brokers.postgres.log import Log
from antiphon.brokers.postgres.membership import Membership
from antiphon.brokers.postgres.reading import read_shares
from antiphon.brokers.postgres.topics import Topics
from antiphon.errors import ClosedError, LeaseLostError, PositionLostError, StoreCorruptError, StoreError
from antiphon.storage.database import Transaction

logger = logging.getLogger("antiphon.brokers.postgres")

_LONGEST_GOODBYE = 5.0
"""Seconds that closing waits for the server."""
_LONGEST_SILENCE = 0.5
"""Seconds after which a waiting reader looks by itself: hints may be lost."""
_STALE = 0.02
"""Seconds after which a reader that has something to read asks what else there is."""
_LOOK = 1.0
"""Seconds after which a member looks at its group by itself."""


class PostgresSubscription:
    """One member's reading of the log; offers `commit_in`, too."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        membership: Membership,
        bell: Bell,
        options: SubscribeOptions,
        lease: timedelta,
        grace: timedelta,
        on_close: Callable[[PostgresSubscription], None],
    ) -> None:
        self._log, self._membership, self._bell = log, membership, bell
        self._lost_start, self._grace, self._on_close = options.lost, grace.total_seconds(), on_close
        self._beat = lease.total_seconds() / 3
        self._held = OffsetHoldings(topics, bell.ring)
        self._seen = -1
        self._generation = -1
        self._asked_at = self._looked_at = self._beaten_at = float("-inf")
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
            rings, news = self._bell.rings, self._bell.news
            if self._is_news_due(news, loop.time()):
                await self._look_for_news(news)
            await self._pass_over_lost()
            if self._held.leaving(loop.time()):
                await self.keep_up()
            deliveries = await self._take(limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._held.has_alarm or left <= 0:
                self._held.has_alarm = False
                return deliveries
            await self._bell.wait(rings, min(left, _LONGEST_SILENCE))
            if rings == self._bell.rings:
                self._seen = -1
        return ()

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`."""
        self._require_open("commit")
        moves, lost = self._held.sort_out(watermarks)
        if lost:
            # Told before anything is awaited: the reader takes it to be about all it was handed until then.
            self._held.lose(lost)
            await self._adopt()
        moves = [(owned, offset) for owned, offset in moves if offset > owned.done]
        if moves:
            moved = await self._membership.move(moves)
            self._held.note_done(moved)
            if len(moved) < len(moves):
                await self._adopt()

    async def commit_in(
        self, tx: Transaction, watermarks: Mapping[Partition, str], held: Collection[Partition] = ()
    ) -> None:
        """As `StoreLogSubscription.commit_in`."""
        self._require_open("commit")
        own = self._log.joined(tx)
        moves, lost = self._held.sort_out(watermarks)
        holdings = {owned.partition: (owned.id, owned.epoch) for owned in self._held if owned.partition in held}
        still = await self._membership.move_in(own, moves, holdings.values())
        lost += [owned.partition for owned, _ in moves if owned.id not in still]
        lost += self._held.lost_of(held, lambda owned: owned.id in still)
        if lost:
            await self._adopt(own)
            raise LeaseLostError(
                f"group {self._membership.group!r}: {_names(lost)} moved to another reader or was sought: "
                "roll back, the work is repeated there"
            )
        own.after_commit(lambda: self._held.note_done(moves))

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
                await self._membership.leave()
            self._bell.announce()
        except (TimeoutError, StoreError) as error:
            # The others see that we are silent once our lease is over.
            reason = str(error) or "the server does not answer"
            logger.warning("group %s was left without a word: %s", self._membership.group, reason)
        finally:
            self._held.clear()

    async def keep_up_if_due(self) -> None:
        """As `keep_up`, when there was no look for a while. The broker calls it every moment."""
        if asyncio.get_running_loop().time() - self._looked_at >= min(_LOOK, self._beat) or self._held.is_leaving:
            await self.keep_up()

    async def keep_up(self) -> None:
        """Renew the leases, take what is free, give up what is wanted elsewhere."""
        if self._acting.locked():
            return
        async with self._acting:
            if self._is_closed:
                return
            look = await self._membership.look()
            now = self._looked_at = asyncio.get_running_loop().time()
            self._generation = look.generation
            self._adopt_from(look.cursors)
            self._held.prepare_to_leave(look.plan.give_up, now + self._grace)
            leaving = self._held.leaving(now)
            if look.plan.claim or leaving or now - self._beaten_at >= self._beat:
                await self._act(leaving, now)

    async def _act(self, leaving: Sequence[OwnedPartition], now: float) -> None:
        cursors = await self._membership.act([(owned.id, owned.epoch) for owned in leaving])
        self._beaten_at = now
        if leaving:
            self._bell.announce()
        self._held.let_go(leaving)
        self._adopt_from(cursors)

    async def _adopt(self, tx: Transaction | None = None) -> None:
        """Bring what we think we hold in line with the table."""
        async with self._acting:  # so that no answer is believed which is older than another one
            is_latest = self._log.database.isolation == "read-committed"
            self._adopt_from(await self._membership.cursors(tx if is_latest else None))

    def _adopt_from(self, cursors: Sequence[CursorRow]) -> None:
        if self._held.adopt(cursors, self._membership.id):
            self._bell.tell()

    def _is_news_due(self, news: int, now: float) -> bool:
        """Whether to ask what there is to read. Not at once while there is something, but others must not starve."""
        if not self._held.ready():
            return news != self._seen
        since = now - self._asked_at
        return since > _LONGEST_SILENCE or (news != self._seen and since > _STALE)

    async def _look_for_news(self, seen: int) -> None:
        generation, news = await self._membership.news()
        if generation != self._generation:
            await self.keep_up()
            generation, news = await self._membership.news()
        self._seen, self._asked_at = seen, asyncio.get_running_loop().time()
        fallen: list[Partition] = []
        held = self._held.by_id()
        for _, partition_id, head, floor, largest, epoch in news:
            owned = None if partition_id is None else held.get(partition_id)
            if owned is not None and owned.epoch == epoch:
                owned.head, owned.floor, owned.largest = head, floor, largest
                if head < owned.read:
                    fallen.append(owned.partition)
        if fallen:
            await self._begin_again(fallen)

    async def _begin_again(self, fallen: Sequence[Partition]) -> None:
        """The server holds less than was read, as after a restore or a failover: go by what it holds now."""
        logger.warning(
            "%s: %s ended before what group %r had read of it: the server was set back to an earlier state; "
            "reading goes on from the position that it knows",
            self._log.database.name, _names(fallen), self._membership.group,
        )  # fmt: skip
        self._held.lose(fallen)
        await self._adopt()

    async def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        shares = self._held.shares(limit)
        deliveries: list[Delivery] = []
        broken: list[OwnedPartition] = []
        for owned, after, taken, is_whole in await read_shares(self._log.database, shares, max_bytes):
            if not self._held.is_readable(owned) or owned.read != after:
                continue  # it was lost, paused or sought while the server was asked
            if not is_whole:
                broken.append(owned)
            elif taken:
                owned.read += len(taken)
                deliveries += taken
                self._held.move_back(owned)
        if not deliveries:  # nothing is awaited once something is taken: a canceled fetch must lose nothing
            for owned in broken:
                await self._expect_lost(owned)
        return deliveries

    async def _expect_lost(self, owned: OwnedPartition) -> None:
        """Messages that should be there are not: retention was faster, or the lease is gone, or rows are missing."""
        _, news = await self._membership.news()
        fresh = [row for row in news if row[1] == owned.id and row[5] == owned.epoch]
        owned.floor = fresh[0][3] if fresh else owned.floor
        if fresh and not owned.is_lost:
            raise StoreCorruptError(
                f"{self._log.database.name}: messages of {_names([owned.partition])} after {owned.read} are missing: "
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
        await self._membership.skip(owned.id, owned.epoch, position, count)
        owned.read = owned.done = max(owned.read, position)

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self._membership.group!r}", tried)


def _names(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{topic}/{number}" for topic, number in partitions)
