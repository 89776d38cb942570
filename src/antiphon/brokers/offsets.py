"""What a member holds of a log whose places are offsets in a table: the cursors of its group say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from antiphon.brokers.holdings import Holdings, share_limit
from antiphon.brokers.places import offset_of
from antiphon.brokers.ports import NoticeKind, Partition


class CursorRow(NamedTuple):
    """A group's place in one partition, and who may move it."""

    partition_id: int
    owner: int | None
    epoch: int
    expires: int
    position: int


class OwnedPartition:
    """A partition that this member reads: how far it was handed out, and how far the group is done with it."""

    __slots__ = ("done", "epoch", "floor", "head", "id", "is_paused", "largest", "leave_by", "partition", "read")

    def __init__(self, partition: Partition, id: int, epoch: int, position: int) -> None:
        self.partition, self.id, self.epoch = partition, id, epoch
        self.read = self.done = self.head = position
        self.floor = self.largest = 0
        self.is_paused = False
        self.leave_by: float | None = None

    @property
    def is_drained(self) -> bool:
        return self.done >= self.read

    @property
    def is_lost(self) -> bool:
        """Whether retention deleted what comes next."""
        return self.floor > self.read

    @property
    def waiting(self) -> int:
        """How many there are to be read."""
        return self.head - self.read


class Names(Protocol):
    """Under which numbers the partitions are kept."""

    def partition(self, partition_id: int) -> Partition:
        """The name of a partition that exists."""
        ...

    def id_of(self, partition: Partition) -> int:
        """Raises UnknownTopicError when there is no such topic or no such partition of it."""
        ...


Watermark = tuple[OwnedPartition, int]


class OffsetHoldings(Holdings[OwnedPartition]):
    """What a member holds, in the order in which it is read next. `ring` wakes a waiting fetch."""

    def __init__(self, topics: Names, ring: Callable[[], None]) -> None:
        super().__init__(ring)
        self._topics = topics

    def by_id(self) -> dict[int, OwnedPartition]:
        """Them by the numbers under which they are kept."""
        return {owned.id: owned for owned in self._owned.values()}

    def ready(self) -> list[OwnedPartition]:
        """Those with something to read that may be read now, whoever waited longest first."""
        return [owned for owned in self._owned.values() if owned.head > owned.read and self._may_be_read(owned)]

    def shares(self, limit: int) -> list[tuple[OwnedPartition, int]]:
        """How many to read of each."""
        return share_limit(self.ready(), limit, lambda owned: owned.waiting)

    def is_readable(self, owned: OwnedPartition) -> bool:
        """Whether it is still held as it was, and may be read now."""
        return self.is_held(owned) and self._may_be_read(owned)

    def _may_be_read(self, owned: OwnedPartition) -> bool:
        return owned.leave_by is None and not owned.is_lost and self.is_open(owned)

    def adopt(self, cursors: Iterable[CursorRow], me: int) -> bool:
        """Bring what is held in line with the table; whether anything was gained."""
        rows = {row.partition_id: row for row in cursors if row.owner == me}
        self.drop(NoticeKind.LOST, [owned for owned in self if not _is_current(owned, rows)])
        known = self.by_id()
        gained = [self._gained(row) for row in rows.values() if row.partition_id not in known]
        self.gain(gained)
        return bool(gained)

    def _gained(self, row: CursorRow) -> OwnedPartition:
        return OwnedPartition(self._topics.partition(row.partition_id), row.partition_id, row.epoch, row.position)

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[Watermark], list[Partition]]:
        """The watermarks of what is held, as offsets; and the partitions that are not, or not as they were read.

        Raises UnknownTopicError.
        """
        moves: list[Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned, offset = self._known(partition), offset_of(position)
            if owned is None or offset > owned.read:
                lost.append(partition)
            else:
                moves.append((owned, offset))
        return moves, lost

    def lost_of(self, partitions: Iterable[Partition], still_owns: Callable[[OwnedPartition], bool]) -> list[Partition]:
        """Those of the partitions that are not held any more, or not as they were read."""
        return [each for each in partitions if (owned := self._known(each)) is None or not still_owns(owned)]

    def _known(self, partition: Partition) -> OwnedPartition | None:
        """What is held of it as its reader knows it."""
        owned = self._owned.get(partition)
        if owned is None:
            self._topics.id_of(partition)
        return None if self.is_fenced(partition) else owned

    def note_done(self, moved: Sequence[Watermark]) -> None:
        """These watermarks are durable."""
        for owned, offset in moved:
            owned.done = max(owned.done, offset)
            if owned.is_drained and (owned.is_lost or owned.leave_by is not None):
                self._ring()  # a waiting fetch has something to do now


def _is_current(owned: OwnedPartition, rows: Mapping[int, CursorRow]) -> bool:
    row = rows.get(owned.id)
    return row is not None and row.epoch == owned.epoch
