"""One member's reading of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

from msgspec.structs import replace

from antiphon.brokers.nats.floors import Floors, lost_error
from antiphon.brokers.nats.holdings import Holdings, Watermark, is_current, place_of
from antiphon.brokers.nats.link import Arrived, Link, Listening
from antiphon.brokers.nats.membership import Membership
from antiphon.brokers.nats.reading import Owned, Reader, names, take
from antiphon.brokers.nats.table import Cursor, Kept, Seat, Standing, Table
from antiphon.brokers.nats.topics import Topic, Topics
from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition, Start, SubscribeOptions
from antiphon.errors import BrokerError, ClosedError, ConnectionLostError

logger = logging.getLogger("antiphon.brokers.nats")

_LONGEST_GOODBYE = 5.0
"""Seconds that closing takes at most."""


class Patience(NamedTuple):
    """How long a silent member keeps its partitions, and how long one may work on what is wanted elsewhere."""

    lease: timedelta
    grace: timedelta


class NatsSubscription:
    """One member's reading of the log."""

    def __init__(
        self,
        link: Link,
        table: Table,
        topics: Topics,
        group: str,
        read: Sequence[Topic],
        options: SubscribeOptions,
        patience: Patience,
        on_close: Callable[[NatsSubscription], None],
    ) -> None:
        self._link, self._table = link, table
        self._group, self._topics = group, read
        self._options, self._patience, self._on_close = options, patience, on_close
        self.id = uuid4().hex[:16]
        self._seat = Seat(
            group=group, name=options.member or f"member-{self.id[:8]}", topics=sorted(each.name for each in read)
        )
        self._membership = Membership(self.id, frozenset(self._seat.topics), patience.lease)
        self._news, self._due = asyncio.Event(), asyncio.Event()
        self._held = Holdings(self._news.set)
        self._reader = Reader(link, group, self._news)
        self._floors = Floors(link, topics)
        self._acting, self._writing = asyncio.Lock(), asyncio.Lock()
        self._beat_at = float("-inf")
        self._listening: Listening | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._end_watch: Callable[[], None] = lambda: None
        self._trouble: BrokerError | None = None
        self._is_closed = False

    async def join(self) -> None:
        """Enter the group, with a place in every partition where it has none yet."""
        await self._reader.start()
        self._listening = await self._link.listen(self._table.bell_of(self._group), self._hear)
        self._end_watch = self._link.watch(self._on_return)
        standing = await self._table.read(self._group, self._topics)
        await self._make_places(standing)
        await self._table.enter(self.id, self._seat)
        await self.keep_up()
        await self._ring()
        self._keeping = asyncio.create_task(self._keep(), name="antiphon-nats-leases")

    async def _make_places(self, standing: Standing) -> None:
        missing = [
            (topic, number)
            for topic in self._topics
            for number in range(topic.partitions)
            if Partition(topic.name, number) not in standing.cursors
        ]
        infos = await self._floors.look({topic.name for topic, _ in missing})
        is_end = self._options.start is Start.END
        places: list[Kept[Cursor]] = []
        for topic, number in missing:
            info = infos[topic.name]
            at = info.state.last_seq if is_end else max(0, info.state.first_seq - 1)
            cursor = Cursor(
                group=self._group, topic=topic.name, number=number, position=at, seen=at, stream=info.created
            )
            places.append(Kept(cursor, 0))
        await self._table.write(places)  # one that is there already was made by another member

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """As `LogSubscription.fetch`; returns early, empty, when a partition was revoked or lost."""
        self._require_open("fetch")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.total_seconds()
        await asyncio.sleep(0)  # a reader that never has to wait lets others run
        while not self._is_closed:
            self._news.clear()
            if self._trouble is not None:
                raise self._trouble
            await self._pass_over_lost()
            ready = self._held.ready()
            if not ready and self._link.is_connected:
                await self._reader.read_on(self._held.wanted())
                ready = self._held.ready()
            deliveries = self._take(ready, limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._held.has_alarm or left <= 0:
                self._held.has_alarm = False
                if not deliveries and not self._link.is_connected and not self._is_closed:
                    raise self._link.lost("not connected")
                return deliveries
            await self._wait(left)
        return ()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, 5.0)):  # a request that the server forgot is noticed by looking
                await self._news.wait()
        except TimeoutError:
            pass

    def _take(self, ready: Sequence[Owned], limit: int, max_bytes: int) -> list[Delivery]:
        deliveries = take(ready, limit, max_bytes) if ready else []
        if deliveries:
            self._held.move_back(dict.fromkeys(each.partition for each in deliveries))
        return deliveries

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`."""
        self._require_open("commit")
        moves, lost = self._held.sort_out(watermarks)
        if lost:
            # Told before anything is awaited: the reader takes it to be about all it was handed until then.
            for owned in self._held.lose(lost):
                self._reader.release(owned)
            self._due.set()
        if moves:
            await self._move(moves)

    async def _move(self, moves: Sequence[Watermark]) -> None:
        changes = {
            owned: lambda cursor, at=place: replace(cursor, position=max(cursor.position, at), seen=max(cursor.seen, at))
            for owned, place in moves
        }
        lost = await self._change(changes)
        # What is not held any more was told of already.
        held = [owned for owned in lost if self._held.get(owned.partition) is owned]
        self._drop(NoticeKind.LOST, held)
        if lost or any(owned.leave_by is not None and owned.is_drained for owned, _ in moves):
            self._due.set()
        if any(owned.is_lost for owned, _ in moves):
            self._news.set()

    async def _change(self, changes: Mapping[Owned, Callable[[Cursor], Cursor]]) -> list[Owned]:
        """Write these places anew, where they are still ours; returns those that are not."""
        async with self._writing:
            failed = await self._try_change(changes)
            if not failed:
                return []
            # Perhaps it was written before, and the confirmation was lost: the lease tells.
            cursors = (await self._table.read(self._group, self._topics)).cursors
            ours = [owned for owned in failed if is_current(owned, cursors.get(owned.partition), self.id)]
            for owned in ours:
                owned.cursor, owned.revision = cursors[owned.partition]
            still = await self._try_change({owned: changes[owned] for owned in ours})
            lost = [owned for owned in failed if owned in still or owned not in ours]
            self._drop(NoticeKind.LOST, [each for each in self._held.void(cursors, self.id) if each not in lost])
            return lost

    async def _try_change(self, changes: Mapping[Owned, Callable[[Cursor], Cursor]]) -> list[Owned]:
        wanted = [Kept(change(owned.cursor), owned.revision) for owned, change in changes.items()]
        acks = await self._table.write(wanted)
        failed: list[Owned] = []
        for owned, kept, ack in zip(changes, wanted, acks, strict=True):
            if ack.code:
                failed.append(owned)
            else:
                owned.cursor, owned.revision = kept.value, ack.sequence
        return failed

    def pause(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.pause`. A partition that is not held is left out."""
        self._held.set_paused(partitions, True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.resume`."""
        self._held.set_paused(partitions, False)
        self._news.set()

    def pause_topic(self, topic: str) -> None:
        """As `LogSubscription.pause_topic`."""
        self._held.set_topic_paused(topic, True)

    def resume_topic(self, topic: str) -> None:
        """As `LogSubscription.resume_topic`."""
        self._held.set_topic_paused(topic, False)
        self._news.set()

    def is_before(self, one: str, other: str) -> bool:
        """As `LogSubscription.is_before`."""
        return place_of(one) < place_of(other)

    def notices(self) -> Sequence[Notice]:
        """As `LogSubscription.notices`."""
        return self._held.take_notices()

    async def close(self) -> None:
        """As `LogSubscription.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._news.set()
        self._end_watch()
        self._on_close(self)
        if self._keeping is not None:
            self._keeping.cancel()
        try:
            async with asyncio.timeout(_LONGEST_GOODBYE):
                if self._link.is_connected:
                    await self._leave()
        except (TimeoutError, BrokerError) as error:
            # The others see by our silence that we are gone.
            logger.warning("group %s was left without a word: %s", self._group, str(error) or "no answer")
        finally:
            self._held.clear()
            await self._reader.stop()
            if self._listening is not None:
                await self._listening.stop()

    async def _leave(self) -> None:
        async with self._acting:
            await self._give_up(list(self._held))
            await self._table.leave(self._group, self.id)
        await self._ring()

    async def keep_up(self) -> None:
        """Take what is free, give up what is wanted elsewhere, show that we live, and look what retention did."""
        if self._is_closed:
            return
        async with self._acting:
            standing = await self._table.read(self._group, self._topics)
            now = asyncio.get_running_loop().time()
            self._membership.hear(standing.members, now)
            self._adopt(standing)
            plan = self._membership.plan(standing, now)
            self._held.prepare_to_leave(set(plan.give_up), now + self._patience.grace.total_seconds())
            leaving = self._held.leaving(now)
            claimed = await self._claim([lease.partition for lease in plan.claim], standing)
            await self._give_up_in_order(leaving)
            if self._is_beat_due(now) or self.id not in standing.members:
                await self._table.enter(self.id, self._seat)
                self._beat_at = now
                for id in self._membership.silent(now):
                    await self._table.leave(self._group, id)
            if claimed or self._floors.is_due(now, self._patience.lease / 3):
                await self._floors.check(list(self._held), now)
        if leaving or len(claimed) < len(plan.claim):
            await self._ring()

    def _is_beat_due(self, now: float) -> bool:
        return now - self._beat_at >= self._patience.lease.total_seconds() / 3 * 0.9

    def _adopt(self, standing: Standing) -> None:
        """Bring what we think we hold in line with the table."""
        if missing := [owned.partition for owned in self._held if owned.partition not in standing.cursors]:
            raise BrokerError(
                f"group {self._group!r} has no place any more in {names(missing)}: somebody deleted it, or the server "
                f"lost it: restore the bucket {self._table.name}, or start this process again and seek the group"
            )
        self._drop(NoticeKind.LOST, self._held.void(standing.cursors, self.id))
        mine = [kept for kept in standing.cursors.values() if kept.value.owner == self.id]
        self._gain(kept for kept in mine if self._held.get(kept.value.partition) is None)

    def _gain(self, gained: Iterable[Kept[Cursor]]) -> None:
        topics = {topic.name: topic for topic in self._topics}
        self._held.gain([Owned(topics[cursor.topic], cursor, revision) for cursor, revision in gained])

    async def _claim(self, free: Sequence[Partition], standing: Standing) -> list[Partition]:
        changes: list[Kept[Cursor]] = []
        for partition in free:
            cursor, revision = standing.cursors[partition]
            changes.append(Kept(replace(cursor, owner=self.id, epoch=cursor.epoch + 1), revision))
        acks = await self._table.write(changes) if changes else []
        won = [Kept(kept.value, ack.sequence) for kept, ack in zip(changes, acks, strict=True) if not ack.code]
        self._gain(won)
        return [kept.value.partition for kept in won]

    async def _give_up_in_order(self, leaving: Sequence[Owned]) -> None:
        drained = {owned for owned in leaving if owned.is_drained}
        await self._give_up(leaving)
        left = [owned for owned in leaving if self._held.get(owned.partition) is owned]
        self._drop(NoticeKind.REVOKED, [owned for owned in left if owned in drained])
        self._drop(NoticeKind.LOST, [owned for owned in left if owned not in drained])

    async def _give_up(self, leaving: Sequence[Owned]) -> None:
        if leaving:
            await self._change({
                owned: lambda cursor, seen=self._floors.seen(owned): replace(
                    cursor, owner=None, seen=max(cursor.seen, seen)
                )
                for owned in leaving
            })

    def _drop(self, kind: NoticeKind, gone: Sequence[Owned]) -> None:
        self._held.drop(kind, gone)
        for owned in gone:
            self._reader.release(owned)

    async def _pass_over_lost(self) -> None:
        for owned in self._held:
            if not owned.is_lost or not self._held.is_open(owned) or owned.buffer:
                continue
            if self._options.lost is Start.STOP:
                await self.keep_up()  # perhaps somebody has moved the group meanwhile
                if self._held.get(owned.partition) is owned:
                    raise lost_error(self._group, owned)
            elif owned.is_drained:
                await self._skip(owned)

    async def _skip(self, owned: Owned) -> None:
        """Go on behind what was lost, and count it."""
        to_end = self._options.lost is Start.END
        position, count = await self._floors.way_over(owned, to_end=to_end)
        lost = await self._change({
            owned: lambda cursor: replace(
                cursor, position=position, seen=max(cursor.seen, position), skipped=cursor.skipped + count
            )
        })
        if lost:
            self._due.set()
            return
        owned.mark, owned.missing = max(owned.mark, position), 0
        owned.go_to(position)

    async def _keep(self) -> None:
        """Keep the leases, whether or not anybody fetches."""
        told = ""
        while True:
            await self._pause()
            try:
                await self.keep_up()
                self._trouble, told = None, ""
            except ConnectionLostError as error:
                if str(error) != told:
                    logger.warning("leases of group %s are not renewed until this is over: %s", self._group, error)
                told = str(error)
                await asyncio.sleep(0.2)
            except BrokerError as error:
                self._trouble = error
                self._news.set()
            except Exception:
                logger.exception("leases of group %s are not renewed until this is over", self._group)

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        longest = self._patience.lease.total_seconds() / 3
        leave = self._held.next_leave()
        seconds = longest if leave is None else max(0.0, min(longest, leave - now))
        try:
            async with asyncio.timeout(seconds):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()

    async def _ring(self) -> None:
        """Let the other members look at once."""
        await self._table.ring(self._group, self.id)

    async def _hear(self, message: Arrived) -> None:
        if message.data != self.id.encode():
            self._due.set()

    def _on_return(self) -> None:
        """The connection is another: what was asked for is not coming any more."""
        self._reader.begin_anew()
        self._due.set()

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self._group!r}", tried)
