"""What a member holds of streams, and what was read ahead of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from antiphon.brokers.holdings import Holdings, share_limit
from antiphon.brokers.ports import Delivery, NoticeKind, Partition
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

    @property
    def is_drained(self) -> bool:
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


class RedisHoldings(Holdings[OwnedPartition]):
    """What a member holds, in the order in which it is handed out next. `ring` wakes a waiting fetch and the reader."""

    def readable(self) -> list[OwnedPartition]:
        """Those that may be read ahead now."""
        return [owned for owned in self.staying() if owned.is_checked and not owned.is_lost]

    def ready(self) -> list[OwnedPartition]:
        """Those of which something can be handed out."""
        return [owned for owned in self.staying() if owned.buffer]

    def shares(self, limit: int) -> list[tuple[OwnedPartition, int]]:
        """How many to hand out of each."""
        return share_limit(self.ready(), limit, lambda owned: len(owned.buffer))

    def adopt(self, cursors: Mapping[Partition, Cursor], me: str) -> None:
        """Bring what is held in line with the server."""
        rows = {partition: cursor for partition, cursor in cursors.items() if cursor.owner == me}
        self.drop(NoticeKind.LOST, [owned for owned in self if not _is_current(owned, rows)])
        self.gain(OwnedPartition(place, cursor) for place, cursor in rows.items() if self.get(place) is None)

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[Watermark], list[Partition]]:
        """The watermarks that move something; and the partitions that are not held, or not as they were read."""
        moves: list[Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned = self.get(partition)
            if owned is None or self.is_fenced(partition):
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
