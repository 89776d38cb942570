"""One member's reading of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

from antiphon.brokers.nats.calls import Arrived
from antiphon.brokers.nats.floors import Floors, lost_error
from antiphon.brokers.nats.holdings import NatsHoldings, Watermark, place_of
from antiphon.brokers.nats.leases import Leases, moving_to, passing_over
from antiphon.brokers.nats.link import Link, Listening
from antiphon.brokers.nats.membership import Membership
from antiphon.brokers.nats.reading import Owned, Reader, take
from antiphon.brokers.nats.table import Seat, Standing, Table
from antiphon.brokers.nats.topics import Topic, Topics
from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition, Start, SubscribeOptions
from antiphon.errors import AntiphonError, ClosedError, ConnectionLostError

logger = logging.getLogger("antiphon.brokers.nats")

_REST = 0.5
"""Seconds between two looks at what is broken."""
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
        self.group = group
        self._options, self._patience, self._on_close = options, patience, on_close
        self.id = uuid4().hex[:16]
        self._seat = Seat(
            group=group, name=options.member or f"member-{self.id[:8]}", topics=sorted(each.name for each in read)
        )
        self._membership = Membership(self.id, frozenset(self._seat.topics), patience.lease)
        self._news, self._due = asyncio.Event(), asyncio.Event()
        self._held = NatsHoldings(self._news.set)
        self._reader = Reader(link, group, self._news, on_gap=self._due.set)
        self._floors = Floors(link, topics)
        self._leases = Leases(table, group, read, self.id, self._held, self._reader)
        self._acting = asyncio.Lock()
        self._beat_at = float("-inf")
        self._listening: Listening | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._end_watch: Callable[[], None] = lambda: None
        self._trouble: AntiphonError | None = None
        self._is_closed = False

    async def join(self) -> None:
        """Enter the group, with a place in every partition where it has none yet."""
        await self._reader.start()
        self._listening = await self._link.listen(self._table.bell_of(self.group), self._hear)
        self._end_watch = self._link.watch(self._on_return)
        missing = self._leases.without_place(await self._leases.read())
        infos = await self._floors.look({partition.topic for partition in missing})
        await self._leases.make_places(missing, infos, at_end=self._options.start is Start.END)
        await self.keep_up()
        await self._ring()
        self._keeping = asyncio.create_task(self._keep(), name="antiphon-nats-leases")

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
            if self._link.is_connected:
                await self._read_on()
            deliveries = self._take(self._held.ready(), limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._held.has_alarm or left <= 0:
                self._held.has_alarm = False
                if not deliveries and not self._link.is_connected and not self._is_closed:
                    raise self._link.lost("not connected")
                return deliveries
            await self._wait(left)
        return ()

    async def _read_on(self) -> None:
        try:
            await self._reader.read_on(self._held.staying())
        except ConnectionLostError:
            if not self._held.ready():
                raise

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, 5.0)):  # a request that the server forgot is noticed by looking
                await self._news.wait()
        except TimeoutError:
            pass

    def _take(self, ready: Sequence[Owned], limit: int, max_bytes: int) -> list[Delivery]:
        deliveries = take(ready, limit, max_bytes) if ready else []
        if deliveries:
            served = {each.partition for each in deliveries}
            for owned in [owned for owned in ready if owned.partition in served]:
                self._held.move_back(owned)
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
        lost = await self._leases.change({owned: moving_to(place) for owned, place in moves})
        # What is not held any more was told of already.
        self._leases.drop(NoticeKind.LOST, [owned for owned in lost if self._held.is_held(owned)])
        if lost or any(owned.leave_by is not None and owned.is_drained for owned, _ in moves):
            self._due.set()
        if any(owned.is_lost for owned, _ in moves):
            self._news.set()

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
        except (TimeoutError, AntiphonError) as error:
            # The others see by our silence that we are gone.
            logger.warning("group %s was left without a word: %s", self.group, str(error) or "no answer")
        finally:
            self._held.clear()
            await self._reader.stop()
            if self._listening is not None:
                await self._listening.stop()

    async def _leave(self) -> None:
        async with self._acting:
            await self._leases.give_up(list(self._held), self._floors.seen)
            await self._table.leave(self.group, self.id)
        await self._ring()

    async def keep_up(self) -> None:
        """Take what is free, give up what is wanted elsewhere, show that we live, and look what retention did."""
        if self._is_closed:
            return
        async with self._acting:
            await self._show_life()
            standing = await self._leases.read()
            now = asyncio.get_running_loop().time()
            self._membership.hear(standing.members, now)
            self._leases.adopt(standing)
            plan = self._membership.plan(standing, now)
            self._held.prepare_to_leave(set(plan.give_up), now + self._patience.grace.total_seconds())
            leaving = self._held.leaving(now)
            claimed = await self._leases.claim([lease.partition for lease in plan.claim], standing)
            await self._leases.hand_over(leaving, self._floors.seen)
            await self._settle_members(standing, now)
            if claimed or self._floors.is_due(now, self._patience.lease / 4) or self._held.has_suspect():
                await self._floors.check(list(self._held), now)
        self._trouble = None
        self._news.set()
        if leaving or claimed < len(plan.claim):
            await self._ring()

    async def _show_life(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_beat():
            await self._table.enter(self.id, self._seat)
            self._beat_at = now

    def _next_beat(self) -> float:
        # A quarter of the lease: two that are late or lost cost nothing.
        return self._beat_at + self._patience.lease.total_seconds() / 4

    async def _settle_members(self, standing: Standing, now: float) -> None:
        """Enter again when the others took us for gone, and forget those of whom nobody will hear again."""
        if self.id not in standing.members:
            await self._table.enter(self.id, self._seat)
        for id in self._membership.silent(now):
            await self._table.leave(self.group, id)

    async def _pass_over_lost(self) -> None:
        for owned in self._held:
            if not owned.is_lost or not self._held.is_open(owned) or owned.has_more:
                continue
            if self._options.lost is Start.STOP:
                await self.keep_up()  # perhaps somebody has moved the group meanwhile
                if self._held.is_held(owned):
                    raise lost_error(self.group, owned)
            elif owned.is_drained:
                await self._skip(owned)

    async def _skip(self, owned: Owned) -> None:
        """Go on behind what was lost, and count it."""
        position, count = await self._floors.way_over(owned, to_end=self._options.lost is Start.END)
        if await self._leases.change({owned: passing_over(position, count)}):
            self._due.set()
            return
        owned.go_to(position)

    async def _keep(self) -> None:
        """Keep the leases, whether or not anybody fetches."""
        told = ""
        while True:
            await self._pause()
            try:
                await self.keep_up()
                told = ""
            except ConnectionLostError as error:
                if str(error) != told:
                    logger.warning("leases of group %s are not renewed until this is over: %s", self.group, error)
                told = str(error)
                await asyncio.sleep(0.2)
            except AntiphonError as error:
                self._trouble = error
                self._news.set()
                await asyncio.sleep(_REST)
            except Exception:
                logger.exception("leases of group %s are not renewed until this is over", self.group)
                await asyncio.sleep(_REST)

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        leave, beat = self._held.next_leave(), self._next_beat()
        seconds = max(0.0, (beat if leave is None else min(beat, leave)) - now)
        try:
            async with asyncio.timeout(seconds):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()

    async def _ring(self) -> None:
        """Let the other members look at once."""
        await self._table.ring(self.group, self.id)

    async def _hear(self, message: Arrived) -> None:
        if message.data != self.id.encode():
            self._due.set()

    def _on_return(self) -> None:
        """The connection is another: what was asked for is not coming any more."""
        self._reader.begin_anew()
        self._due.set()

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self.group!r}", tried)
