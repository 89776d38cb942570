"""What a topic in memory holds: its partitions' messages, and what retention drops of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import datetime

from antiphon.brokers.memory.bell import Bell
from antiphon.brokers.placement import place
from antiphon.brokers.ports import Partition, TopicSpec, TopicState
from antiphon.errors import UsageError
from antiphon.events.message import Message


def offset_of(position: str) -> int:
    """The offset that a position of this broker stands for."""
    try:
        return int(position)
    except ValueError:
        raise UsageError(f"{position!r} is no position of a memory broker: pass one that it gave out") from None


class PartitionLog:
    """One partition's messages, at offsets that count from 1 and are never used twice."""

    __slots__ = ("_arrivals", "_base", "_before", "_messages", "_totals", "first", "partition")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.first = 1
        """Offset of the oldest message that is held."""
        self._base = 1
        """Offset of `_messages[0]`: below `first` while dropped messages wait to be freed."""
        self._before = 0
        """Bytes that came before `_messages[0]`."""
        self._messages: list[Message] = []
        self._arrivals: list[datetime] = []
        self._totals: list[int] = []
        """Bytes ever appended, up to and with each message."""

    @property
    def end(self) -> int:
        """The offset that the next message gets."""
        return self._base + len(self._messages)

    @property
    def bytes(self) -> int:
        return self.bytes_between(self.first, self.end)

    def bytes_between(self, start: int, stop: int) -> int:
        return self._total_before(stop) - self._total_before(start)

    def append(self, message: Message, arrival: datetime) -> None:
        totals, data = self._totals, message.data
        totals.append((totals[-1] if totals else self._before) + (0 if data is None else len(data)))
        self._messages.append(message)
        self._arrivals.append(arrival)

    def read(self, start: int, limit: int, max_bytes: int, *, least: int = 0) -> list[Message]:
        """Up to `limit` messages from offset `start`, of together `max_bytes`, but `least` where there are as many."""
        begin = start - self._base
        stop = min(begin + limit, len(self._messages))
        if stop > begin:
            allowed = self._total_before(start) + max_bytes
            if self._totals[stop - 1] > allowed:
                stop = min(stop, max(bisect_right(self._totals, allowed, begin, stop), begin + least))
        return self._messages[begin:stop]

    def message(self, offset: int) -> Message:
        return self._messages[offset - self._base]

    def arrival(self, offset: int) -> datetime:
        return self._arrivals[offset - self._base]

    def since(self, moment: datetime) -> int:
        """The offset of the first message that arrived at `moment` or later."""
        return self._base + bisect_left(self._arrivals, moment, self.first - self._base)

    def drop_before(self, offset: int) -> None:
        """Drop what is older. Freed in pieces, so that dropping costs little per message."""
        self.first = max(self.first, offset)
        dead = self.first - self._base
        if dead * 2 > len(self._messages):
            self._before = self._total_before(self.first)
            self._base = self.first
            del self._messages[:dead], self._arrivals[:dead], self._totals[:dead]

    def _total_before(self, offset: int) -> int:
        index = offset - self._base - 1
        return self._totals[index] if index >= 0 else self._before


class MemoryTopic:
    """A topic's partitions, how long they keep what they hold, and who is to be told of something new."""

    __slots__ = ("_turn", "bells", "logs", "name", "spec")

    def __init__(self, spec: TopicSpec) -> None:
        self.name = spec.name
        self.spec = spec
        self.logs = [PartitionLog(Partition(spec.name, number)) for number in range(spec.partitions)]
        self.bells: dict[Bell, None] = {}
        self._turn = 0

    def log_of(self, key: str | None) -> PartitionLog:
        """Where a message of `key` goes; those without a key take turns."""
        logs = self.logs
        if key is not None:
            return logs[place(key, len(logs))]
        self._turn = (self._turn + 1) % len(logs)
        return logs[self._turn]

    def ring(self) -> None:
        for bell in self.bells:
            bell.ring()

    def retain(self, now: datetime) -> None:
        """Drop what is older than the topic keeps, then the oldest of what is more than it keeps."""
        if self.spec.keep_for is not None:
            self._drop_older(now - self.spec.keep_for)
        if self.spec.keep_bytes is not None:
            self._drop_beyond(self.spec.keep_bytes)

    def state(self) -> TopicState:
        return TopicState(
            name=self.name,
            partitions=len(self.logs),
            messages=sum(log.end - log.first for log in self.logs),
            bytes=sum(log.bytes for log in self.logs),
            keep_for=self.spec.keep_for,
            keep_bytes=self.spec.keep_bytes,
        )

    def _drop_older(self, moment: datetime) -> None:
        for log in self.logs:
            if log.first < log.end and log.arrival(log.first) < moment:
                log.drop_before(log.since(moment))

    def _drop_beyond(self, limit: int) -> None:
        excess = sum(log.bytes for log in self.logs) - limit
        while excess > 0:
            oldest = min((log for log in self.logs if log.first < log.end), key=_oldest_arrival)
            before = oldest.bytes
            oldest.drop_before(oldest.first + 1)
            excess -= before - oldest.bytes


def _oldest_arrival(log: PartitionLog) -> datetime:
    return log.arrival(log.first)
