"""Which partitions does a member hold, what was read of each, and what must its reader be told of that?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition
from antiphon.brokers.redis.cursors import Cursor
from antiphon.brokers.redis.places import is_before, lane_of


class OwnedPartition:
    """A partition that this member reads: what was read ahead, what was handed out, and what is done."""

    __slots__ = (
        "ahead", "ahead_count", "buffer", "damage", "done", "done_count", "epoch", "first", "handed", "is_checked",
        "is_lively", "is_lost", "is_paused", "lane", "largest", "leave_by", "partition",
    )  # fmt: skip

    def __init__(self, partition: Partition, cursor: Cursor) -> None:
        self.partition, self.lane, self.epoch = partition, lane_of(partition), cursor.epoch
        self.done = self.ahead = cursor.position
        self.done_count = self.ahead_count = cursor.entries
        """How many entries the stream ever had up to there."""
        self.buffer: deque[Delivery] = deque()
        self.handed: list[str] = []
        """The positions that were handed out and are not done."""
        self.largest = 0
        self.is_paused = self.is_lost = self.is_checked = False
        self.is_lively = True
        """Whether the last look found something."""
        self.first = ""
        """Where the stream begins, once something before that is lost."""
        self.damage = ""
        self.leave_by: float | None = None
        """When it is given up at the latest, in the loop's time; None while it is ours to keep."""

    @property
    def is_drained(self) -> bool:
        """Whether everything handed out is done."""
        return not self.handed

    @property
    def read(self) -> str:
        """How far it was handed out."""
        return self.handed[-1] if self.handed else self.done

    def hand_out(self, count: int) -> list[Delivery]:
        """The next of what was read ahead."""
        take = self.buffer.popleft
        taken = [take() for _ in range(count)]
        self.handed += [delivery.position for delivery in taken]
        return taken

    def count_at(self, position: str) -> int | None:
        """How many entries there are up to a position that was handed out; None when it was not."""
        try:
            return self.done_count + self.handed.index(position) + 1
        except ValueError:
            return None

    def note_done(self, position: str, count: int) -> None:
        """Everything up to there is done, durably."""
        if count > self.done_count:
            del self.handed[: count - self.done_count]
            self.done, self.done_count = position, count

    def lose(self, first: str) -> None:
        """What comes next is deleted; `first` is what is there."""
        self.is_lost, self.first = True, first

    def begin_at(self, position: str, count: int) -> None:
        """Go on there, with nothing in hand."""
        self.buffer.clear()
        self.handed.clear()
        self.done = self.ahead = position
        self.done_count = self.ahead_count = count
        self.is_lost = False


Watermark = tuple[OwnedPartition, str, int]
"""What is to be moved, to where, and how many entries there are up to that."""


class Holdings:
    """What a member holds, in the order in which it is handed out next. `ring` wakes a waiting fetch and the reader."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._owned: dict[Partition, OwnedPartition] = {}
        self._fenced: set[Partition] = set()
        """Lost by a notice not yet taken: what the reader holds of these must not be committed."""
        self._paused_topics: set[str] = set()
        self._notices: list[Notice] = []
        self.has_alarm = False
        """Whether something was taken away since the reader was last told."""

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(tuple(self._owned.values()))

    def get(self, partition: Partition) -> OwnedPartition | None:
        return self._owned.get(partition)

    def is_held(self, owned: OwnedPartition) -> bool:
        """Whether it is still this holding, and no later one of the same partition."""
        return self._owned.get(owned.partition) is owned

    def is_open(self, owned: OwnedPartition) -> bool:
        """Whether its reader lets it be read, and knows what it lost of it."""
        is_paused = owned.is_paused or owned.partition.topic in self._paused_topics
        return not is_paused and owned.partition not in self._fenced

    def readable(self) -> list[OwnedPartition]:
        """Those that may be read ahead now, as far as this member is concerned."""
        return [
            owned
            for owned in self._owned.values()
            if owned.leave_by is None and owned.is_checked and not owned.is_lost and self.is_open(owned)
        ]

    def ready(self) -> list[OwnedPartition]:
        """Those of which something can be handed out, whoever waited longest first."""
        return [o for o in self._owned.values() if o.buffer and o.leave_by is None and self.is_open(o)]

    def move_back(self, owned: OwnedPartition) -> None:
        """Who was served stands at the end of the line."""
        del self._owned[owned.partition]
        self._owned[owned.partition] = owned

    def adopt(self, cursors: Mapping[Partition, Cursor], me: str) -> None:
        """Bring what is held in line with the server."""
        rows = {partition: cursor for partition, cursor in cursors.items() if cursor.owner == me}
        self.drop(NoticeKind.LOST, [owned for owned in self if not _is_current(owned, rows)])
        gained = [partition for partition in rows if partition not in self._owned]
        for partition in gained:
            self._owned[partition] = OwnedPartition(partition, rows[partition])
        if gained:
            self.tell(NoticeKind.ASSIGNED, gained)

    def drop(self, kind: NoticeKind, gone: Sequence[OwnedPartition]) -> None:
        """Hold these no more."""
        for owned in gone:
            del self._owned[owned.partition]
            if kind is NoticeKind.LOST:
                self._fenced.add(owned.partition)
        if gone:
            self.has_alarm = True
            self.tell(kind, [owned.partition for owned in gone])

    def lose(self, partitions: Sequence[Partition]) -> None:
        """What was handed out of these is void: say so, and begin anew with those that are still held."""
        held = [owned for owned in self if owned.partition in partitions and owned.partition not in self._fenced]
        self.drop(NoticeKind.LOST, held)
        dropped = {owned.partition for owned in held}
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
            owned = self._owned.get(partition)
            if owned is not None:
                owned.is_paused = paused

    def set_topic_paused(self, topic: str, paused: bool) -> None:
        """Whether to read anything of this topic, whatever is gained of it later."""
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
        return any(owned.leave_by is not None for owned in self._owned.values())

    def leaving(self, now: float) -> list[OwnedPartition]:
        """Those wanted elsewhere of which everything is done, or for which that took too long."""
        return [o for o in self._owned.values() if o.leave_by is not None and (o.is_drained or o.leave_by <= now)]

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[Watermark], list[Partition]]:
        """The watermarks that move something; and the partitions that are not held, or not as they were read."""
        moves: list[Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned = self._owned.get(partition)
            if owned is None or partition in self._fenced:
                lost.append(partition)
            elif (count := owned.count_at(position)) is not None:
                moves.append((owned, position, count))
            elif is_before(owned.done, position):
                lost.append(partition)
        return moves, lost

    def note_done(self, moved: Iterable[Watermark]) -> None:
        """These watermarks are durable."""
        for owned, position, count in moved:
            owned.note_done(position, count)
            if owned.is_drained and (owned.is_lost or owned.leave_by is not None):
                self._ring()  # a waiting fetch has something to do now


def _is_current(owned: OwnedPartition, rows: Mapping[Partition, Cursor]) -> bool:
    row = rows.get(owned.partition)
    return row is not None and row.epoch == owned.epoch


def share_limit(ready: Sequence[OwnedPartition], limit: int) -> list[tuple[OwnedPartition, int]]:
    """How many to hand out of each: equal shares, and what a short one leaves goes to the longer ones."""
    by_backlog = sorted(ready[:limit], key=lambda owned: len(owned.buffer))
    shares: list[tuple[OwnedPartition, int]] = []
    left = limit
    for index, owned in enumerate(by_backlog):
        count = min(len(owned.buffer), -(-left // (len(by_backlog) - index)))
        shares.append((owned, count))
        left -= count
    return shares
