"""Which partitions does a member hold, and what must its reader be told of that?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from antiphon.brokers.places import offset_of
from antiphon.brokers.ports import Notice, NoticeKind, Partition


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
        """When it is given up at the latest, in the loop's time; None while it is ours to keep."""

    @property
    def is_drained(self) -> bool:
        """Whether everything handed out is done."""
        return self.done >= self.read

    @property
    def is_lost(self) -> bool:
        """Whether retention deleted what comes next."""
        return self.floor > self.read


class Names(Protocol):
    """Under which numbers the partitions are kept."""

    def partition(self, partition_id: int) -> Partition:
        """The name of a partition that exists."""
        ...

    def id_of(self, partition: Partition) -> int:
        """Raises UnknownTopicError when there is no such topic or no such partition of it."""
        ...


Watermark = tuple[OwnedPartition, int]


class Holdings:
    """What a member holds, in the order in which it is read next. `ring` wakes a waiting fetch."""

    def __init__(self, topics: Names, ring: Callable[[], None]) -> None:
        self._topics, self._ring = topics, ring
        self._owned: dict[int, OwnedPartition] = {}
        self._fenced: set[int] = set()
        """Lost by a notice not yet taken: what the reader holds of these must not be committed."""
        self._paused_topics: set[str] = set()
        self._notices: list[Notice] = []
        self.has_alarm = False
        """Whether something was taken away since the reader was last told."""

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(tuple(self._owned.values()))

    def get(self, partition_id: int) -> OwnedPartition | None:
        return self._owned.get(partition_id)

    def ready(self) -> list[OwnedPartition]:
        """Those with something to read that may be read now, whoever waited longest first."""
        return [owned for owned in self._owned.values() if owned.head > owned.read and self._may_be_read(owned)]

    def is_readable(self, owned: OwnedPartition) -> bool:
        """Whether it is still held as it was, and may be read now."""
        return self._owned.get(owned.id) is owned and self._may_be_read(owned)

    def _may_be_read(self, owned: OwnedPartition) -> bool:
        return owned.leave_by is None and not owned.is_lost and self.is_open(owned)

    def is_open(self, owned: OwnedPartition) -> bool:
        """Whether its reader lets it be read, and knows what it lost of it."""
        is_paused = owned.is_paused or owned.partition.topic in self._paused_topics
        return not is_paused and owned.id not in self._fenced

    def move_back(self, owned: OwnedPartition) -> None:
        """Who was served stands at the end of the line."""
        del self._owned[owned.id]
        self._owned[owned.id] = owned

    def adopt(self, cursors: Iterable[CursorRow], me: int) -> bool:
        """Bring what is held in line with the table; whether anything was gained."""
        rows = {row.partition_id: row for row in cursors if row.owner == me}
        self.drop(NoticeKind.LOST, [owned for owned in self if not _is_current(owned, rows)])
        gained = [self._gain(row) for row in rows.values() if row.partition_id not in self._owned]
        if gained:
            self.tell(NoticeKind.ASSIGNED, gained)
        return bool(gained)

    def drop(self, kind: NoticeKind, gone: Sequence[OwnedPartition]) -> None:
        """Hold these no more."""
        for owned in gone:
            del self._owned[owned.id]
            if kind is NoticeKind.LOST:
                self._fenced.add(owned.id)
        if gone:
            self.has_alarm = True
            self.tell(kind, [owned.partition for owned in gone])

    def lose(self, partitions: Sequence[Partition]) -> None:
        """What was handed out of these is void: say so, and begin anew with those that are still held."""
        held = [owned for owned in self if owned.partition in partitions and owned.id not in self._fenced]
        self.drop(NoticeKind.LOST, held)
        dropped = [owned.partition for owned in held]
        if others := [partition for partition in partitions if partition not in dropped]:
            self.tell(NoticeKind.LOST, others)

    def clear(self) -> None:
        self._owned.clear()

    def tell(self, kind: NoticeKind, partitions: Sequence[Partition]) -> None:
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
        for partition in partitions:
            owned = self._owned.get(self._topics.id_of(partition))
            if owned is not None:
                owned.is_paused = paused

    def set_topic_paused(self, topic: str, paused: bool) -> None:
        """Whether to read anything of this topic, whatever is gained of it later."""
        if paused:
            self._paused_topics.add(topic)
        else:
            self._paused_topics.discard(topic)

    def prepare_to_leave(self, wanted: Collection[int], latest: float) -> None:
        """Read no more of what is wanted elsewhere, which goes by `latest`; go on with what is not wanted any more."""
        for owned in self:
            if owned.id in wanted:
                owned.leave_by = latest if owned.leave_by is None else owned.leave_by
            elif owned.leave_by is not None:
                owned.leave_by = None
                self._ring()

    @property
    def is_leaving(self) -> bool:
        """Whether anything is wanted elsewhere."""
        return any(owned.leave_by is not None for owned in self._owned.values())

    def leaving(self, now: float) -> list[OwnedPartition]:
        """Those wanted elsewhere of which everything is done, or for which that took too long."""
        return [o for o in self._owned.values() if o.leave_by is not None and (o.is_drained or o.leave_by <= now)]

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[Watermark], list[Partition]]:
        """The watermarks of what is held, as offsets; and the partitions that are not, or not as they were read."""
        moves: list[Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned = self._owned.get(self._topics.id_of(partition))
            offset = offset_of(position)
            if owned is None or owned.id in self._fenced or offset > owned.read:
                lost.append(partition)
            else:
                moves.append((owned, offset))
        return moves, lost

    def lost_of(self, partitions: Iterable[Partition], still_owns: Callable[[OwnedPartition], bool]) -> list[Partition]:
        """Those of the partitions that are not held any more, or not as they were read."""
        lost: list[Partition] = []
        for partition in partitions:
            owned = self._owned.get(self._topics.id_of(partition))
            if owned is None or owned.id in self._fenced or not still_owns(owned):
                lost.append(partition)
        return lost

    def note_done(self, moved: Iterable[Watermark]) -> None:
        """These watermarks are durable."""
        for owned, offset in moved:
            owned.done = max(owned.done, offset)
            if owned.is_drained and (owned.is_lost or owned.leave_by is not None):
                self._ring()  # a waiting fetch has something to do now

    def _gain(self, row: CursorRow) -> Partition:
        partition = self._topics.partition(row.partition_id)
        self._owned[row.partition_id] = OwnedPartition(partition, row.partition_id, row.epoch, row.position)
        return partition


def _is_current(owned: OwnedPartition, rows: Mapping[int, CursorRow]) -> bool:
    row = rows.get(owned.id)
    return row is not None and row.epoch == owned.epoch


def share_limit(ready: Sequence[OwnedPartition], limit: int) -> list[tuple[OwnedPartition, int]]:
    """How many to read from each: equal shares, and what a short one leaves goes to the longer ones."""
    by_backlog = sorted(ready[:limit], key=lambda owned: owned.head - owned.read)
    shares: list[tuple[OwnedPartition, int]] = []
    left = limit
    for index, owned in enumerate(by_backlog):
        count = min(owned.head - owned.read, -(-left // (len(by_backlog) - index)))
        shares.append((owned, count))
        left -= count
    return shares
