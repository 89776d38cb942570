"""One member's reading of topics that are streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from antiphon.brokers.assignment import Plan
from antiphon.brokers.offsets import OffsetHoldings, OwnedPartition, Watermark
from antiphon.brokers.places import offset_of
from antiphon.brokers.ports import Delivery, Notice, Partition, Start, SubscribeOptions
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.codec import read
from antiphon.brokers.rabbitmq.course import Mark, Place, Seat
from antiphon.brokers.rabbitmq.driver import Link, MissingError
from antiphon.brokers.rabbitmq.gathering import OF_STREAMS, gather
from antiphon.brokers.rabbitmq.log_group import LogGroup
from antiphon.brokers.rabbitmq.log_reader import LogReader
from antiphon.brokers.rabbitmq.log_share import ME, Numbers, Share
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.peeking import Peeking
from antiphon.errors import (
    AntiphonError,
    ClosedError,
    ConnectionLostError,
    PositionLostError,
    StoreCorruptError,
)
from antiphon.events.ids import new_id

logger = logging.getLogger("antiphon.brokers.rabbitmq")
_REST = 0.2
_LONGEST_GOODBYE = 5.0


class LogSettings(NamedTuple):
    """How long a silent member keeps its partitions, and how many messages of each are read ahead."""

    lease: timedelta
    grace: timedelta
    prefetch: int


class RabbitLogSubscription:
    """One member's reading of topics that are streams."""

    def __init__(
        self,
        link: Link,
        names: Names,
        group: LogGroup,
        topics: Mapping[str, int],
        options: SubscribeOptions,
        settings: LogSettings,
        on_close: Callable[[RabbitLogSubscription], None],
    ) -> None:
        self._link, self._names, self._group = link, names, group
        self._peeking = Peeking(link, names.log_registry)
        self._options, self._settings, self._on_close = options, settings, on_close
        self.id = new_id()[-12:]
        self._seat = Seat(self.id, options.member or f"member-{self.id[:8]}", sorted(topics))
        self._numbers = Numbers(Partition(topic, n) for topic, count in topics.items() for n in range(count))
        self._news, self._due = asyncio.Event(), asyncio.Event()
        self._held = OffsetHoldings(self._numbers, self._news.set)
        self._readers: dict[int, LogReader] = {}
        self._acting = asyncio.Lock()
        self._share = Share(group, self._seat, self._numbers, settings.lease)
        self._keeping: asyncio.Task[None] | None = None
        self._trouble: AntiphonError | None = None
        self._is_closed = False

    @property
    def group(self) -> str:
        return self._group.name

    def stall(self) -> None:
        """Keep nothing any more, as when the process stands still; for tests."""
        self._group.watchers.discard(self.look)
        if self._keeping is not None:
            self._keeping.cancel()

    async def is_replaced(self) -> None:
        """Return when everything that it read is another's; for tests."""
        changed = asyncio.Event()
        self._group.watchers.add(changed.set)
        try:
            while self._share.has_any():
                changed.clear()
                await changed.wait()
        finally:
            self._group.watchers.discard(changed.set)

    async def join(self) -> None:
        """Enter the group, with a place in every partition where it has none yet."""
        await self._group.look()
        missing = [each for each in self._numbers.all if each not in self._group.course.places]
        if missing:
            find = self._peeking.end if self._options.start is Start.END else self._peeking.first
            streams = [self._names.stream(topic, number) for topic, number in missing]
            found = await asyncio.gather(*(find(stream) for stream in streams))
            places = [Place(topic, number, at or 0) for (topic, number), at in zip(missing, found, strict=True)]
            await self._group.write([Mark("begin", places=places)])
        self._group.watchers.add(self.look)
        await self.keep_up()
        self._keeping = asyncio.create_task(self._keep(), name="antiphon rabbitmq leases")

    def look(self) -> None:
        """Something changed in the group, or the connection is another."""
        self._due.set()
        self._news.set()

    def end(self, error: AntiphonError) -> None:
        """Let `fetch` raise this from now on: there is nothing to go on with."""
        if self._keeping is not None:
            self._keeping.cancel()
        self._fail(error)

    def _fail(self, error: AntiphonError) -> None:
        """Let `fetch` raise this until the group is well again."""
        self._trouble = error
        self._news.set()

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
            await gather(self._count, limit, OF_STREAMS)
            deliveries = self._take(limit, max_bytes)
            left = deadline - loop.time()
            if deliveries or self._held.has_alarm or left <= 0:
                self._held.has_alarm = False
                if not deliveries and not self._link.is_up and not self._is_closed:
                    raise self._link.away()
                return deliveries
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                pass
        return ()

    def _count(self) -> int:
        return sum([owned.waiting for owned in self._held.ready()])

    def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for owned, count in self._held.shares(limit):
            reader = self._readers.get(owned.id)
            if reader is not None and (taken := reader.take(count, max_bytes, has_any=bool(deliveries))):
                max_bytes -= sum([len(received.body) for _, received in taken])
                deliveries += [delivery_of(owned.partition, position, received) for position, received in taken]
                self._held.move_back(owned)
        return deliveries

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        """As `LogSubscription.commit`."""
        self._require_open("commit")
        moves, lost = self._held.sort_out(watermarks)
        if lost:
            self._held.lose(lost)
            self._due.set()
        if moves:
            await self._move(moves)

    async def _move(self, moves: Sequence[Watermark], skipped: int = 0) -> bool:
        """Whether all of them hold."""
        wanted = [_place(owned, position, skipped) for owned, position in moves]
        await self._group.write([Mark("move", self.id, wanted)])
        kept = [(owned, position) for owned, position in moves if self._share.has(owned)]
        self._held.note_done(kept)
        self._due.set()
        if len(kept) < len(moves):
            self._adopt()  # which tells of what is not ours any more
        return len(kept) == len(moves)

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
        return offset_of(one) < offset_of(other)

    def notices(self) -> Sequence[Notice]:
        """As `LogSubscription.notices`."""
        return self._held.take_notices()

    async def close(self) -> None:
        """As `LogSubscription.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._news.set()
        self._group.watchers.discard(self.look)
        self._on_close(self)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        try:
            async with asyncio.timeout(_LONGEST_GOODBYE):
                await self._group.write([Mark("leave", self.id)])
        except (TimeoutError, AntiphonError) as error:
            # The others see by our silence that we are gone.
            logger.warning("group %s was left without a word: %s", self.group, str(error) or "no answer")
        self._held.clear()
        await self._close_readers()

    async def keep_up(self) -> None:
        """Show that we live, take what is free, give up what is wanted elsewhere, and read what is ours."""
        if self._is_closed:
            return
        async with self._acting:
            now = asyncio.get_running_loop().time()
            await self._share.show_life(now)
            self._adopt()
            found = self._share.plan(now)
            self._held.prepare_to_leave(found.give_up, now + self._settings.grace.total_seconds())
            await self._change_hands(found, self._held.leaving(now))
            self._adopt()
            await self._read_all()
        self._trouble = None

    def _adopt(self) -> None:
        """Bring what we think we hold in line with what the group wrote down."""
        self._held.adopt(self._share.rows(), ME)

    async def _change_hands(self, found: Plan, leaving: Sequence[OwnedPartition]) -> None:
        self._held.let_go(leaving)
        marks: list[Mark] = []
        if leaving:
            marks.append(Mark("yield", self.id, [_place(owned, owned.done) for owned in leaving]))
        if found.claim:
            places = [Place(*lease.partition, epoch=lease.epoch - 1) for lease in found.claim]
            marks.append(Mark("claim", self.id, places))
        if marks:
            await self._group.write(marks)

    async def _read_all(self) -> None:
        """Read what is held, and nothing else."""
        held = {owned.id: owned for owned in self._held}
        gone = [id for id, reader in self._readers.items() if held.get(id) is not reader.owned]
        await asyncio.gather(*(self._readers.pop(id).close() for id in gone))
        for id, owned in held.items():
            if id not in self._readers:
                stream = self._names.stream(*owned.partition)
                self._readers[id] = LogReader(owned, stream, self._settings.prefetch, self.look)
        now = asyncio.get_running_loop().time()
        idle = [reader for reader in self._readers.values() if not reader.is_reading or reader.is_silent(now)]
        try:
            await _all(reader.open(self._link) for reader in idle)
            await _all(reader.look_into(self._peeking) for reader in self._readers.values())
        except MissingError as error:
            raise StoreCorruptError(
                f"a stream that group {self.group!r} reads is gone ({error}): the server lost its data, or somebody "
                "deleted it: restore it, or start this process again to begin anew"
            ) from error

    async def _close_readers(self) -> None:
        readers = list(self._readers.values())
        self._readers.clear()
        await asyncio.gather(*(reader.close() for reader in readers), return_exceptions=True)

    async def _pass_over_lost(self) -> None:
        for owned in self._held:
            if not owned.is_lost or not self._held.is_open(owned) or owned.leave_by is not None:
                continue
            if self._options.lost is Start.STOP:
                await self.keep_up()  # perhaps somebody has moved the group meanwhile
                if not self._held.is_held(owned):
                    continue
                topic, number = owned.partition
                raise PositionLostError(self.group, topic, number, str(owned.read), str(owned.floor))
            if owned.is_drained:
                await self._skip(owned)

    async def _skip(self, owned: OwnedPartition) -> None:
        """Go on behind what was lost, and count it."""
        to_end, position = self._options.lost is Start.END, owned.floor
        if to_end:
            position = max(position, await self._peeking.end(self._names.stream(*owned.partition)) or 0)
        if await self._move([(owned, position)], position - owned.read):
            owned.read = owned.done = position
            if to_end:
                await self._go_to(owned, position)

    async def _go_to(self, owned: OwnedPartition, position: int) -> None:
        async with self._acting:  # nobody else opens it meanwhile
            reader = self._readers.get(owned.id)
            if reader is not None and reader.owned is owned:
                await reader.go_to(position, self._link)

    async def _keep(self) -> None:
        """Keep the leases, whether or not anybody fetches."""
        while True:
            await self._pause()
            try:
                await self.keep_up()
            except ConnectionLostError:
                await asyncio.sleep(_REST)
            except AntiphonError as error:
                self._fail(error)
                await asyncio.sleep(_REST)
            except Exception:
                logger.exception("leases of group %s are not renewed until this is over", self.group)
                await asyncio.sleep(_REST)

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        latest = min(
            (owned.leave_by for owned in self._held if owned.leave_by is not None), default=self._share.next_beat()
        )
        try:
            async with asyncio.timeout(max(0.0, min(latest, self._share.next_beat()) - now)):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()

    def _require_open(self, tried: str) -> None:
        if self._is_closed:
            raise ClosedError(f"the subscription of group {self.group!r}", tried)


async def _all(works: Iterable[Coroutine[object, object, None]]) -> None:
    """Return when each has ended, also where one fails: what goes on unheard could open a reader that is closed."""
    for found in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(found, BaseException):
            raise found


def _place(owned: OwnedPartition, position: int, skipped: int = 0) -> Place:
    return Place(*owned.partition, position=position, epoch=owned.epoch, skipped=skipped)


def delivery_of(partition: Partition, position: int, received: Received) -> Delivery:
    _, headers, body, content_type, message_id, at = received
    message, problem = read(
        headers, body, content_type, message_id or f"{partition.topic}-{partition.number}-{position}", at
    )
    return Delivery(partition, str(position), message, problem=problem)
