"""Where a group stands in each partition of a log, and how its members share them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from math import inf
from typing import Protocol

from antiphon.brokers.assignment import share_out
from antiphon.brokers.memory.bell import Bell, left
from antiphon.brokers.memory.topic import MemoryTopic, PartitionLog
from antiphon.brokers.ports import Lag, NoticeKind, Partition, Start
from antiphon.events.clock import Clock


class Reader(Protocol):
    """A member, as its group sees it."""

    id: str
    bell: Bell

    @property
    def topics(self) -> Collection[str]: ...

    def gain(self, mark: Watermark) -> None:
        """Read this partition from now on, after what the group has done."""
        ...

    def drop(self, partition: Partition, kind: NoticeKind) -> None:
        """Read this partition no more."""
        ...

    def is_idle(self, mark: Watermark) -> bool:
        """Whether everything handed out of this partition is done."""
        ...


class Watermark:
    """Where a group stands in one partition, and who reads it."""

    __slots__ = ("done", "log", "owner", "seeks", "skipped")

    def __init__(self, log: PartitionLog, done: int) -> None:
        self.log = log
        self.done = done
        """All up to this offset, itself included, is done."""
        self.owner: Reader | None = None
        self.seeks = 0
        """How often the group was moved; a commit prepared before a move is void."""
        self.skipped = 0


class LogGroup:
    """A group's watermarks, shared out over its members."""

    def __init__(self, name: str, clock: Clock, patience: timedelta) -> None:
        self.name = name
        self.watermarks: dict[Partition, Watermark] = {}
        self.leaving: dict[Partition, float] = {}
        """Partitions whose owner was asked to give them up, and when it loses them."""
        self._members: dict[str, Reader] = {}
        self._clock = clock
        self._patience = patience.total_seconds()
        self._joined = 0

    def begin(self, topic: MemoryTopic, start: Start) -> None:
        """Give the group a place in every partition of `topic` where it has none."""
        for log in topic.logs:
            if log.partition not in self.watermarks:
                done = log.end - 1 if start is Start.END else log.first - 1
                self.watermarks[log.partition] = Watermark(log, done)

    def join(self, member: Reader) -> None:
        self._members[member.id] = member
        self.share()

    def leave(self, member: Reader) -> None:
        if self._members.pop(member.id, None) is not None:
            for mark in self.watermarks.values():
                if mark.owner is member:
                    self._free(mark)
            self.share()

    def next_member_id(self, name: str | None) -> str:
        self._joined += 1
        return f"{name or 'member'}-{self._joined}"

    def has(self, member: Reader) -> bool:
        return member.id in self._members

    def share(self) -> None:
        """Give each partition to a member; one that is still being worked on moves when that is done or overdue."""
        target = self._targets()
        for partition, mark in self.watermarks.items():
            wanted = target.get(partition)
            if wanted is mark.owner:
                self.leaving.pop(partition, None)
            elif mark.owner is None or self._given_up(partition, mark, mark.owner):
                self._free(mark)
                mark.owner = wanted
                if wanted is not None:
                    wanted.gain(mark)

    def _given_up(self, partition: Partition, mark: Watermark, owner: Reader) -> bool:
        if owner.is_idle(mark):
            owner.drop(partition, NoticeKind.REVOKED)
        elif partition not in self.leaving:
            self.leaving[partition] = self._clock.monotonic() + self._patience
            self._ring()
            return False
        elif left(self._clock, self.leaving[partition]):
            return False
        else:
            owner.drop(partition, NoticeKind.LOST)
        return True

    def _ring(self) -> None:
        for member in self._members.values():
            member.bell.ring()

    def next_handover(self) -> float:
        """When the next partition that was asked for is taken away; infinity when none was."""
        return min(self.leaving.values(), default=inf)

    def advance(self, partition: Partition, offset: int) -> None:
        """All up to `offset` is done; an older one changes nothing."""
        mark = self.watermarks[partition]
        mark.done = max(mark.done, offset)
        if partition in self.leaving and mark.owner is not None and mark.owner.is_idle(mark):
            self.share()

    def move(self, topic: MemoryTopic, offset_in: Callable[[PartitionLog, int], int]) -> None:
        """Put the watermark of each partition where `offset_in` says; whoever reads it drops what it holds."""
        for log in topic.logs:
            mark = self.watermarks[log.partition]
            mark.done = offset_in(log, mark.done)
            mark.seeks += 1
            self._take(mark)
        self.share()

    def take_all(self, member: Reader) -> None:
        """Take everything from `member`, which joins again at its next fetch."""
        for mark in self.watermarks.values():
            if mark.owner is member:
                self._take(mark)
        del self._members[member.id]
        self.share()

    def _take(self, mark: Watermark) -> None:
        if mark.owner is not None:
            mark.owner.drop(mark.log.partition, NoticeKind.LOST)
        self._free(mark)

    def _free(self, mark: Watermark) -> None:
        mark.owner = None
        self.leaving.pop(mark.log.partition, None)

    def _targets(self) -> dict[Partition, Reader]:
        pools: defaultdict[frozenset[str], list[Partition]] = defaultdict(list)
        for partition in self.watermarks:
            readers = frozenset(m.id for m in self._members.values() if partition.topic in m.topics)
            if readers:
                pools[readers].append(partition)
        held = {p: mark.owner.id for p, mark in self.watermarks.items() if mark.owner is not None}
        return {
            partition: self._members[name]
            for readers, partitions in pools.items()
            for partition, name in share_out(readers, partitions, held).items()
        }

    def lag(self, now: datetime) -> list[Lag]:
        return [self._lag_of(mark, now) for mark in self.watermarks.values()]

    def _lag_of(self, mark: Watermark, now: datetime) -> Lag:
        log = mark.log
        unread = max(mark.done + 1, log.first)
        return Lag(
            group=self.name,
            partition=log.partition,
            position=str(mark.done),
            end=str(log.end - 1),
            messages=log.end - unread,
            age=now - log.arrival(unread) if unread < log.end else timedelta(),
            owner=None if mark.owner is None else mark.owner.id,
            skipped=mark.skipped,
        )
