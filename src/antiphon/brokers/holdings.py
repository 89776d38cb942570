"""Which partitions does a member hold, and what must its reader be told of that? For every adapter with leases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from antiphon.brokers.ports import Notice, NoticeKind, Partition


class Holding(Protocol):
    """A partition that this member reads."""

    is_paused: bool
    leave_by: float | None
    """When it is given up at the latest, in the loop's time; None while it is ours to keep."""

    @property
    def partition(self) -> Partition: ...

    @property
    def is_drained(self) -> bool:
        """Whether everything handed out is done."""
        ...


H = TypeVar("H", bound=Holding)


class Holdings(Generic[H]):
    """What a member holds, in the order in which it is read next. `ring` wakes a waiting fetch."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._owned: dict[Partition, H] = {}
        self._fenced: set[Partition] = set()
        """Lost by a notice not yet taken: what the reader holds of these must not be committed."""
        self._paused_topics: set[str] = set()
        self._notices: list[Notice] = []
        self.has_alarm = False
        """Whether something was taken away since the reader was last told."""

    def __iter__(self) -> Iterator[H]:
        return iter(tuple(self._owned.values()))

    def get(self, partition: Partition) -> H | None:
        return self._owned.get(partition)

    def is_held(self, owned: H) -> bool:
        """Whether it is still this holding, and no later one of the same partition."""
        return self._owned.get(owned.partition) is owned

    def is_fenced(self, partition: Partition) -> bool:
        """Whether its reader does not know yet that it lost what it has of it."""
        return partition in self._fenced

    def is_open(self, owned: H) -> bool:
        """Whether its reader lets it be read, and knows what it lost of it."""
        is_paused = owned.is_paused or owned.partition.topic in self._paused_topics
        return not is_paused and owned.partition not in self._fenced

    def staying(self) -> list[H]:
        """Those that may be read now, as far as this member is concerned, whoever waited longest first."""
        return [owned for owned in self._owned.values() if owned.leave_by is None and self.is_open(owned)]

    def move_back(self, owned: H) -> None:
        """Who was served stands at the end of the line."""
        if self._owned.pop(owned.partition, None) is not None:
            self._owned[owned.partition] = owned

    def gain(self, gained: Iterable[H]) -> None:
        """Hold these, too."""
        new = list(gained)
        self._owned.update((owned.partition, owned) for owned in new)
        if new:
            self._tell(NoticeKind.ASSIGNED, [owned.partition for owned in new])

    def drop(self, kind: NoticeKind, gone: Sequence[H]) -> None:
        """Hold these no more."""
        for owned in gone:
            del self._owned[owned.partition]
            if kind is NoticeKind.LOST:
                self._fenced.add(owned.partition)
        if gone:
            self.has_alarm = True
            self._tell(kind, [owned.partition for owned in gone])

    def let_go(self, leaving: Iterable[H]) -> None:
        """These were given up: what was done in order, and what took too long."""
        left = [owned for owned in leaving if self.is_held(owned)]
        self.drop(NoticeKind.REVOKED, [owned for owned in left if owned.is_drained])
        self.drop(NoticeKind.LOST, [owned for owned in left if not owned.is_drained])

    def lose(self, partitions: Collection[Partition]) -> list[H]:
        """What was handed out of these is void: say so; returns those that were held, to be begun anew."""
        held = [owned for owned in self if owned.partition in partitions and owned.partition not in self._fenced]
        self.drop(NoticeKind.LOST, held)
        dropped = {owned.partition for owned in held}
        if others := [partition for partition in partitions if partition not in dropped]:
            self._tell(NoticeKind.LOST, others)
        return held

    def clear(self) -> None:
        self._owned.clear()

    def _tell(self, kind: NoticeKind, partitions: Sequence[Partition]) -> None:
        """Leave a notice for the reader."""
        self._notices.append(Notice(kind, tuple(partitions)))
        self._ring()

    def take_notices(self) -> list[Notice]:
        """What the reader was not told yet; what it lost may be read again from now on."""
        taken, self._notices = self._notices, []
        self.has_alarm = False
        if self._fenced:
            self._fenced.clear()
            self._ring()
        return taken

    def set_paused(self, partitions: Iterable[Partition], paused: bool) -> None:
        """Whether to leave these unread. One that is not held is left out."""
        for partition in partitions:
            if (owned := self._owned.get(partition)) is not None:
                owned.is_paused = paused

    def set_topic_paused(self, topic: str, paused: bool) -> None:
        """Whether to leave this topic unread, whatever is gained of it later."""
        if paused:
            self._paused_topics.add(topic)
        else:
            self._paused_topics.discard(topic)

    def prepare_to_leave(self, wanted: Collection[Partition], latest: float) -> None:
        """Read no more of what is wanted elsewhere, which goes by `latest`; go on with what is not wanted any more."""
        for owned in self:
            if owned.partition in wanted:
                owned.leave_by = latest if owned.leave_by is None else owned.leave_by
            elif owned.leave_by is not None:
                owned.leave_by = None
                self._ring()

    @property
    def is_leaving(self) -> bool:
        """Whether anything is wanted elsewhere."""
        return self.next_leave() is not None

    def next_leave(self) -> float | None:
        """When the first of those that are wanted elsewhere has to go."""
        return min((owned.leave_by for owned in self._owned.values() if owned.leave_by is not None), default=None)

    def leaving(self, now: float) -> list[H]:
        """Those wanted elsewhere of which everything is done, or for which that took too long."""
        return [o for o in self._owned.values() if o.leave_by is not None and (o.is_drained or o.leave_by <= now)]


def share_limit(ready: Sequence[H], limit: int, waiting: Callable[[H], int]) -> list[tuple[H, int]]:
    """How many to take of each, of which so many are `waiting`: equal shares, and what a short one leaves goes to the
    longer ones.
    """
    by_backlog = sorted(ready[:limit], key=waiting)
    shares: list[tuple[H, int]] = []
    left = limit
    for index, owned in enumerate(by_backlog):
        count = min(waiting(owned), -(-left // (len(by_backlog) - index)))
        shares.append((owned, count))
        left -= count
    return shares
