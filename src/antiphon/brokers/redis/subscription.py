"""One member's reading of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.ports import Delivery, Notice, Partition, Start, SubscribeOptions
from antiphon.brokers.redis.cursors import Cursor
from antiphon.brokers.redis.driver import Link, Links
from antiphon.brokers.redis.holdings import OwnedPartition, RedisHoldings
from antiphon.brokers.redis.membership import Beat, Membership, News
from antiphon.brokers.redis.places import is_before
from antiphon.brokers.redis.reading import Keys, Reader
from antiphon.errors import AntiphonError, ClosedError, DataLostError, PositionLostError

logger = logging.getLogger("antiphon.brokers.redis")

_LONGEST_GOODBYE = 5.0
"""Seconds that closing waits for the server."""


class RedisSubscription:
    """One member's reading of the log."""

    def __init__(
        self,
        links: Links,
        link: Link,
        membership: Membership,
        prefix: str,
        options: SubscribeOptions,
        grace: timedelta,
        on_close: Callable[[RedisSubscription], None],
    ) -> None:
        self._links, self._link, self._membership = links, link, membership
        self._lost_start, self._grace, self._on_close = options.lost, grace.total_seconds(), on_close
        self._keys = Keys(prefix, membership.group, membership.id)
        self._held = RedisHoldings(self._ring)
        self._reader = Reader(link, self._keys, self._held, membership.check, self._ask_for_beat, self._wake)
        self._awake = asyncio.Event()
        self._acting = asyncio.Lock()
        self._errands: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._reader.run(), name="antiphon-redis-reader")
        self._is_beat_due = False
        self._fault: AntiphonError | None = None
        """What no waiting mends, as the last sign of life met it."""
        self._is_closed = False

    @property
    def group(self) -> str:
        return self._membership.group

    @property
    def id(self) -> str:
        """Which member of all groups it is."""
        return self._membership.id

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """As `LogSubscription.fetch`; returns early, empty, when a partition was revoked or lost."""
        self._require_open("fetch")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.total_seconds()
        await asyncio.sleep(0)  # a reader that never has to wait lets others run
        while not self._is_closed:
            self._awake.clear()
            await self._pass_over_lost()
            if self._held.leaving(loop.time()):
                self._ask_for_beat()
            deliveries = self._take(limit, max_bytes)
            self._reader.want(limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._held.has_alarm or left <= 0:
                self._held.has_alarm = False
                return deliveries
            trouble = self._fault or self._reader.trouble
            if trouble is not None:
                raise trouble
            await self._sleep(left)
        return ()

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`."""
        self._require_open("commit")
        moves, lost = self._held.sort_out(watermarks)
        if lost:
            # Told before anything is awaited: the reader takes it to be about all it was handed until then.
            self._held.lose(lost)
            self._ask_for_beat()
        if moves:
            owns = await self._membership.commit(moves)
            self._held.note_done(move for move, is_own in zip(moves, owns, strict=True) if is_own)
            if not all(owns):
                async with self._acting:  # so that nothing newer is undone by what is read here
                    self._held.adopt(await self._membership.cursors(), self.id)
                self._ask_for_beat()

    def pause(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.pause`. A partition that is not held is left out."""
        self._held.set_paused(partitions, True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """As `LogSubscription.resume`."""
        self._held.set_paused(partitions, False)
        self._ring()

    def pause_topic(self, topic: str) -> None:
        """As `LogSubscription.pause_topic`."""
        self._held.set_topic_paused(topic, True)

    def resume_topic(self, topic: str) -> None:
        """As `LogSubscription.resume_topic`."""
        self._held.set_topic_paused(topic, False)
        self._ring()

    def is_before(self, one: str, other: str) -> bool:
        """As `LogSubscription.is_before`."""
        return is_before(one, other)

    def notices(self) -> Sequence[Notice]:
        """As `LogSubscription.notices`."""
        return self._held.take_notices()

    async def close(self) -> None:
        """As `LogSubscription.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake()
        self._on_close(self)
        for task in (self._reading, *self._errands):
            task.cancel()
        await asyncio.gather(self._reading, *self._errands, return_exceptions=True)
        await self._link.close()
        try:
            async with asyncio.timeout(_LONGEST_GOODBYE), self._acting:
                await self._membership.leave()
        except (TimeoutError, AntiphonError) as error:
            # The others see by our silence that we are gone.
            reason = str(error) or "the server does not answer"
            logger.warning("group %s was left without a word: %s", self._membership.group, reason)
        finally:
            self._held.clear()

    async def keep_up(self) -> None:
        """Renew the leases, take what is free, give up what is wanted elsewhere. The broker calls it every moment."""
        async with self._acting:
            self._is_beat_due = True
            while self._is_beat_due and not self._is_closed:
                self._is_beat_due = False
                try:
                    await self._look()
                    self._fault = None
                except AntiphonError as error:
                    self._fault = None if error.retryable else error
                    self._wake()
                    raise

    async def _look(self) -> None:
        beat = await self._say_that_it_lives()
        todo = self._membership.plan(beat)
        now = asyncio.get_running_loop().time()
        self._held.prepare_to_leave(todo.give_up, now + self._grace)
        leaving = self._held.leaving(now)
        if todo.claim or leaving:
            await self._say_that_it_lives([(lease.partition, lease.epoch - 1) for lease in todo.claim], leaving)

    async def _say_that_it_lives(
        self, claims: Sequence[tuple[Partition, int]] = (), leaving: Sequence[OwnedPartition] = ()
    ) -> Beat:
        before = {owned: (owned.ahead, owned.ahead_count) for owned in self._held}
        beat = await self._membership.beat(claims, leaving)
        self._held.let_go(leaving)
        self._held.adopt(beat.cursors, self.id)
        for owned in self._held:
            news, cursor = beat.news.get(owned.partition), beat.cursors.get(owned.partition)
            if news is not None and cursor is not None:
                self._check(owned, news, cursor, *before.get(owned, (owned.ahead, owned.ahead_count)))
        return beat

    def _check(self, owned: OwnedPartition, news: News, cursor: Cursor, ahead: str, count: int) -> None:
        """Whether the stream still holds what it should, given how far it had been read when it was asked."""
        ends = news.ends
        owned.largest = max(owned.largest, news.largest)
        if is_before(ends.last, cursor.position):
            owned.damage = ends.last
        elif is_before(ends.last, ahead):
            self._went_back(owned, ends.last)
        elif ends.last == ahead and ends.added != count:
            self._miscounted(owned, ends.added - count)
        elif owned.ahead == ahead and (ends.deleted > count or is_before(ahead, ends.floor)):
            owned.lose(ends.first or "its end")
        if not owned.is_checked:
            owned.is_checked = True
            self._ring()
        if owned.is_lost or owned.damage:
            self._wake()

    def _went_back(self, owned: OwnedPartition, last: str) -> None:
        topic, number = owned.partition
        logger.error(
            "%s/%s ends at %s, but group %s has read up to %s: the server lost messages that it had confirmed, as in a "
            "failover; the group goes on from its watermark",
            topic, number, last, self.group, owned.ahead,
        )  # fmt: skip
        self._held.lose([owned.partition])
        self._is_beat_due = True  # it is ours still, and begins anew

    def _miscounted(self, owned: OwnedPartition, missing: int) -> None:
        topic, number = owned.partition
        logger.warning(
            "%s/%s: something else than this software deleted %d messages that group %s had not read",
            topic, number, missing, self._membership.group,
        )  # fmt: skip
        owned.ahead_count += missing
        owned.done_count += missing

    def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        shares = self._held.shares(limit)
        is_tight = sum(max(owned.largest, 4096) * count for owned, count in shares) > max_bytes
        for index, (owned, count) in enumerate(shares):
            if is_tight:
                budget = max_bytes // (len(shares) - index)
                count, size = _fitting(owned, count, budget, least=0 if deliveries else 1)
                max_bytes -= size
            if count:
                deliveries += owned.hand_out(count)
                self._held.move_back(owned)
        return deliveries

    async def _pass_over_lost(self) -> None:
        for owned in self._held:
            if not self._held.is_open(owned):
                continue
            if owned.damage or (owned.is_lost and not owned.buffer and self._lost_start is Start.STOP):
                await self.keep_up()  # somebody may have mended it since
                if self._held.is_held(owned):
                    raise self._damaged(owned) if owned.damage else self._lost(owned)
            elif owned.is_lost and owned.is_drained and not owned.buffer:
                await self._skip(owned)

    async def _skip(self, owned: OwnedPartition) -> None:
        found = await self._membership.skip(owned, self._lost_start)
        if found is None:
            self._ask_for_beat()
        elif self._held.is_held(owned):
            owned.begin_at(*found)
            self._reader.look()

    def _lost(self, owned: OwnedPartition) -> PositionLostError:
        topic, number = owned.partition
        return PositionLostError(self._membership.group, topic, number, owned.read, owned.first)

    def _damaged(self, owned: OwnedPartition) -> DataLostError:
        topic, number = owned.partition
        group, key = self._membership.group, self._keys.log(owned)
        return DataLostError(
            f"{topic}/{number} ends at {owned.damage}, but the watermark of group {group!r} is beyond that: the server "
            f"lost what it had confirmed (it was restored, or its key {key} was deleted): restore it, or seek the "
            f"group (antiphon groups seek {group})"
        )

    def _ask_for_beat(self) -> None:
        """Look at the group soon; what it fails with, the next heartbeat meets as well."""
        if self._acting.locked():
            self._is_beat_due = True
        elif not self._is_closed:
            self._run(self._quietly(self.keep_up))

    def _ring(self) -> None:
        """Let the reader look again, wherever it waits, and a waiting fetch."""
        self._reader.look()
        self._wake()
        if self._reader.is_waiting and not self._is_closed:
            self._run(self._quietly(self._ring_inside))

    def _wake(self) -> None:
        self._awake.set()

    async def _ring_inside(self) -> None:
        bell = self._keys.bell
        await self._links.ask(("XADD", bell, "MAXLEN", 1, "*", "ring", 1), ("EXPIRE", bell, 3600))

    def _run(self, errand: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _quietly(self, errand: Callable[[], Awaitable[None]]) -> None:
        try:
            await errand()
        except AntiphonError as error:
            logger.debug("an errand of group %s failed: %s", self._membership.group, error)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            pass

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self._membership.group!r}", tried)


def _fitting(owned: OwnedPartition, count: int, max_bytes: int, *, least: int) -> tuple[int, int]:
    """How many of the next `count` fit, and their bytes."""
    size = 0
    for place in range(count):
        data = owned.buffer[place].message.data
        more = 0 if data is None else len(data)
        if size + more > max_bytes and place >= least:
            return place, size
        size += more
    return count, size
