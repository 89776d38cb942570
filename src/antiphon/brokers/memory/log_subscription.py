"""One member's reading of a log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.memory.bell import Bell, left
from antiphon.brokers.memory.joining import require_own
from antiphon.brokers.memory.log_group import LogGroup, Watermark
from antiphon.brokers.memory.topic import MemoryTopic, offset_of
from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition, Start, SubscribeOptions
from antiphon.errors import ClosedError, LeaseLostError, PositionLostError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database, Transaction


class MemoryLogSubscription:
    """One member's reading of a log in memory. Offers `commit_in` and `commit_with`, too."""

    def __init__(
        self,
        id: str,
        group: LogGroup,
        topics: Sequence[MemoryTopic],
        options: SubscribeOptions,
        clock: Clock,
        database: Database,
        accept_whole: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        self.id = id
        self.topics = {topic.name: topic for topic in topics}
        self.bell = Bell(clock)
        self._group = group
        self._clock = clock
        self._database = database
        self._accept_whole = accept_whole
        self._lost = options.lost
        self._cursors: dict[Partition, int] = {}
        """Offset that each owned partition is read from next."""
        self._paused: set[Partition] = set()
        self._paused_topics: set[str] = set()
        self._fenced: set[Partition] = set()
        """Taken away by a notice not yet read: what the reader holds of these is void."""
        self._news: list[tuple[NoticeKind, dict[Partition, None]]] = []
        self._alarmed = False
        self._closed = False
        for topic in topics:
            topic.bells[self.bell] = None

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        """As the port says; a member that was evicted joins again."""
        self._require_open("fetch")
        await asyncio.sleep(0)  # so that a reader that never has to wait lets others run
        deadline = self._clock.monotonic() + wait.total_seconds()
        while True:
            self.bell.clear()
            if taken := self._take(limit, max_bytes):
                return taken
            if self._closed or self._alarmed or not left(self._clock, deadline):
                self._alarmed = False
                return taken
            await self.bell.wait(left(self._clock, min(deadline, self._group.next_handover())))

    async def commit(self, watermarks: Mapping[Partition, str]) -> None:
        self._require_open("commit")
        for partition, position in watermarks.items():
            offset = offset_of(position)
            if not self._owns(partition):
                self._tell(NoticeKind.LOST, partition)
            elif offset < self._cursors[partition]:
                self._group.advance(partition, offset)

    async def commit_in(
        self, tx: Transaction, watermarks: Mapping[Partition, str], held: Collection[Partition] = ()
    ) -> None:
        self._require_open("commit")
        require_own(tx, self._database)
        self._require_owned({*watermarks, *held})
        for partition, position in watermarks.items():
            tx.after_commit(self._advancing(partition, offset_of(position)))

    async def commit_with(self, watermarks: Mapping[Partition, str], outgoing: Sequence[Outgoing]) -> None:
        self._require_open("commit")
        for partition in watermarks:
            if not self._owns(partition):
                self._tell(NoticeKind.LOST, partition)
        self._require_owned(watermarks)
        self._accept_whole(outgoing)
        await self.commit(watermarks)

    def _require_owned(self, partitions: Collection[Partition]) -> None:
        lost = [partition for partition in partitions if not self._owns(partition)]
        if lost:
            names = ", ".join(f"{topic}/{number}" for topic, number in lost)
            raise LeaseLostError(
                f"{self.id} of group {self._group.name!r} does not hold {names} any more: "
                "roll back, the new owner repeats the work"
            )

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(p for p in partitions if p in self._cursors)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)
        self.bell.ring()

    def pause_topic(self, topic: str) -> None:
        self._paused_topics.add(topic)

    def resume_topic(self, topic: str) -> None:
        self._paused_topics.discard(topic)
        self.bell.ring()

    def is_before(self, one: str, other: str) -> bool:
        return offset_of(one) < offset_of(other)

    def notices(self) -> Sequence[Notice]:
        news, self._news = self._news, []
        if self._fenced:
            self._fenced.clear()
            self.bell.ring()
        self._alarmed = False
        return [Notice(kind, tuple(partitions)) for kind, partitions in news]

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._cursors.clear()
            self._group.leave(self)
            for topic in self.topics.values():
                topic.bells.pop(self.bell, None)
            self.bell.ring()

    def evict(self) -> None:
        """Lose everything, as when the process stalls for too long; the next fetch joins again. Twice is safe."""
        if self._group.has(self):
            self._group.take_all(self)

    def gain(self, mark: Watermark) -> None:
        """Read this partition from now on, after what the group has done."""
        self._cursors[mark.log.partition] = mark.done + 1
        self._tell(NoticeKind.ASSIGNED, mark.log.partition)

    def drop(self, partition: Partition, kind: NoticeKind) -> None:
        """Read this partition no more."""
        del self._cursors[partition]
        self._paused.discard(partition)
        if kind is NoticeKind.LOST:
            self._fenced.add(partition)
        self._alarmed = True
        self._tell(kind, partition)

    def is_idle(self, mark: Watermark) -> bool:
        """Whether everything handed out of this partition is done."""
        return self._cursors[mark.log.partition] == mark.done + 1

    def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        if self._closed:
            return []
        if not self._group.has(self):
            self._group.join(self)
        if not left(self._clock, self._group.next_handover()):
            self._group.share()
        taken: list[Delivery] = []
        for partition in list(self._cursors):
            if partition in self._paused or partition in self._fenced or partition.topic in self._paused_topics:
                continue
            mark = self._group.watermarks[partition]
            if partition not in self._group.leaving:
                max_bytes -= self._take_from(mark, taken, limit - len(taken), max_bytes)
            if len(taken) >= limit or max_bytes <= 0:
                break
        return taken

    def _take_from(self, mark: Watermark, taken: list[Delivery], limit: int, max_bytes: int) -> int:
        """Append what this partition has; returns how many bytes that was. Partitions take turns at being first."""
        log, partition = mark.log, mark.log.partition
        start = self._cursors[partition]
        if start < log.first:
            start = self._go_on_from_lost(mark, start)
        if start >= log.end:
            return 0
        messages = log.read(start, limit, max_bytes, least=0 if taken else 1)
        if not messages:
            return 0
        taken += [Delivery(partition, str(at), message) for at, message in enumerate(messages, start)]
        del self._cursors[partition]
        self._cursors[partition] = start + len(messages)
        return log.bytes_between(start, start + len(messages))

    def _go_on_from_lost(self, mark: Watermark, start: int) -> int:
        log = mark.log
        if self._lost is Start.STOP:
            topic, number = log.partition
            raise PositionLostError(self._group.name, topic, number, str(start - 1), str(log.first))
        go_on = log.first if self._lost is Start.START else log.end
        mark.skipped += go_on - start
        mark.done = max(mark.done, go_on - 1)
        self._cursors[log.partition] = go_on
        return go_on

    def _owns(self, partition: Partition) -> bool:
        return partition in self._cursors and partition not in self._fenced

    def _advancing(self, partition: Partition, offset: int) -> Callable[[], None]:
        mark = self._group.watermarks[partition]
        seeks = mark.seeks

        def advance() -> None:
            # The effects are committed, so the group moves on even when the partition went to another member.
            if mark.seeks == seeks:
                self._group.advance(partition, offset)

        return advance

    def _tell(self, kind: NoticeKind, partition: Partition) -> None:
        if not self._news or self._news[-1][0] is not kind:
            self._news.append((kind, {}))
        self._news[-1][1][partition] = None
        self.bell.ring()

    def _require_open(self, tried: str) -> None:
        if self._closed:
            raise ClosedError(f"subscription {self.id} of group {self._group.name!r}", tried)
