"""How far a partition is done: deliveries finish in any order, the watermark follows the finished prefix."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from antiphon.brokers.ports import Delivery, Partition

WAITING: Final = 0
FINISHED: Final = 1
LOST: Final = 2
SETTLED: Final = 3
RELEASED: Final = 4
SHELVED: Final = 5
"""The states of a delivery, kept in `Delivery.state`. A lost one must not be handled or settled any more, nor one
that the drain released: whatever its handler makes of being canceled, it is not known to be done. A shelved one is
on its way to be set aside, and finished once that is certain."""


_PARTITION_OF = attrgetter("partition")


class Prefix:
    """The finished prefix of some partitions, taken at one moment: the last delivery of each."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: dict[Partition, Delivery] = {}

    def __bool__(self) -> bool:
        return bool(self.last)

    @property
    def watermarks(self) -> dict[Partition, str]:
        return {partition: delivery.position for partition, delivery in self.last.items()}


class Windows:
    """What was fetched and is not settled yet, in order of arrival, for each partition."""

    def __init__(self) -> None:
        self._windows: dict[Partition, deque[Delivery]] = {}
        self.count = 0
        self.bytes = 0

    def track(self, deliveries: Iterable[Delivery]) -> None:
        for partition, group in groupby(deliveries, _PARTITION_OF):
            neighbors = list(group)
            window = self._windows.get(partition)
            if window is None:
                window = self._windows[partition] = deque()
            window.extend(neighbors)
            self.count += len(neighbors)
            self.bytes += _size(neighbors)

    def prefix(self, done: Collection[Delivery] = (), without: Container[Delivery] = ()) -> Prefix:
        """The finished prefix now, `done` counted as finished; nothing changes until it is given to `drop`.

        It ends before the first one of `without`.
        """
        found = Prefix()
        for partition, window in self._windows.items():
            last = None
            for delivery in window:
                if (delivery.state != FINISHED and delivery not in done) or delivery in without:
                    break
                last = delivery
            if last is not None:
                found.last[partition] = last
        return found

    def passed(self, prefix: Prefix) -> Iterator[Delivery]:
        """Everything in a prefix, in order within each partition."""
        for partition, last in prefix.last.items():
            for delivery in self._windows.get(partition, ()):
                yield delivery
                if delivery is last:
                    break

    def ready(self) -> bool:
        """Whether any watermark could move."""
        return any(window[0].state == FINISHED for window in self._windows.values())

    def drop(self, prefix: Prefix) -> None:
        """Forget a prefix that is durable. What was lost or dropped meanwhile is left alone, so twice is safe."""
        for partition, last in prefix.last.items():
            if last.state != FINISHED:
                continue
            window = self._windows[partition]
            dropped: list[Delivery] = []
            while last.state == FINISHED:
                delivery = window.popleft()
                delivery.state = SETTLED
                dropped.append(delivery)
            self._forget(dropped)
            if not window:
                del self._windows[partition]

    def lose(self, partitions: Sequence[Partition]) -> list[Delivery]:
        """Mark everything of these partitions as lost, forget it, and return it."""
        lost = [delivery for partition in partitions for delivery in self._windows.pop(partition, ())]
        for delivery in lost:
            delivery.state = LOST
        self._forget(lost)
        return lost

    def waiting(self, partition: Partition) -> list[Delivery]:
        """What is not finished in a partition, in order of arrival."""
        return [delivery for delivery in self._windows.get(partition, ()) if delivery.state == WAITING]

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        self.count -= len(deliveries)
        self.bytes -= _size(deliveries)


def _size(deliveries: Iterable[Delivery]) -> int:
    return sum([len(delivery.message.data or b"") for delivery in deliveries])
