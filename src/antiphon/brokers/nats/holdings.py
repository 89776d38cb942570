"""Which partitions does a member hold, and what must its reader be told of that?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from antiphon.brokers.nats.reading import Owned
from antiphon.brokers.nats.table import Cursor, Kept
from antiphon.brokers.ports import Notice, NoticeKind, Partition
from antiphon.errors import UsageError

Watermark = tuple[Owned, int]


class Holdings:
    """What a member holds, in the order in which it is read next. `ring` wakes a waiting fetch."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._owned: dict[Partition, Owned] = {}
        self._fenced: set[Partition] = set()
        """Lost by a notice not yet taken: what the reader holds of these must not be committed."""
        self._paused_topics: set[str] = set()
        self._notices: list[Notice] = []
        self.has_alarm = False
        """Whether something was taken away since the reader was last told."""

    def __iter__(self) -> Iterator[Owned]:
        return iter(tuple(self._owned.values()))

    def get(self, partition: Partition) -> Owned | None:
        return self._owned.get(partition)

    def wanted(self) -> list[Owned]:
        """Those that should be read ahead."""
        return [owned for owned in self._owned.values() if owned.leave_by is None and self.is_open(owned)]

    def ready(self) -> list[Owned]:
        """Those of which something is there that may be handed out, whoever waited longest first."""
        return [
            owned for owned in self._owned.values() if owned.has_more and owned.leave_by is None and self.is_open(owned)
        ]

    def has_suspect(self) -> bool:
        """Whether of any some messages seem to be gone."""
        return any(owned.suspected for owned in self._owned.values())

    def is_open(self, owned: Owned) -> bool:
        """Whether its reader lets it be read, and knows what it lost of it."""
        is_paused = owned.is_paused or owned.partition.topic in self._paused_topics
        return not is_paused and owned.partition not in self._fenced

    def move_back(self, served: Iterable[Partition]) -> None:
        """Who was served stands at the end of the line."""
        for partition in served:
            if (owned := self._owned.pop(partition, None)) is not None:
                self._owned[partition] = owned

    def void(self, cursors: Mapping[Partition, Kept[Cursor]], me: str) -> list[Owned]:
        """Those that are somebody else's by now, or ours from another place on."""
        return [owned for owned in self if not is_current(owned, cursors.get(owned.partition), me)]

    def gain(self, gained: Sequence[Owned]) -> None:
        """Hold these, too."""
        self._owned.update({owned.partition: owned for owned in gained})
        if gained:
            self._tell(NoticeKind.ASSIGNED, [owned.partition for owned in gained])

    def drop(self, kind: NoticeKind, gone: Sequence[Owned]) -> None:
        """Hold these no more."""
        for owned in gone:
            del self._owned[owned.partition]
            if kind is NoticeKind.LOST:
                self._fenced.add(owned.partition)
        if gone:
            self.has_alarm = True
            self._tell(kind, [owned.partition for owned in gone])

    def lose(self, partitions: Sequence[Partition]) -> list[Owned]:
        """What was handed out of these is void: say so; returns those that were still held."""
        held = [owned for owned in self if owned.partition in partitions and owned.partition not in self._fenced]
        self.drop(NoticeKind.LOST, held)
        dropped = [owned.partition for owned in held]
        if others := [partition for partition in partitions if partition not in dropped]:
            self._tell(NoticeKind.LOST, others)
        return held

    def clear(self) -> None:
        self._owned.clear()

    def _tell(self, kind: NoticeKind, partitions: Sequence[Partition]) -> None:
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
            if (owned := self._owned.get(partition)) is not None:
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

    def next_leave(self) -> float | None:
        """When the first of those that are wanted elsewhere has to go."""
        return min((owned.leave_by for owned in self._owned.values() if owned.leave_by is not None), default=None)

    def leaving(self, now: float) -> list[Owned]:
        """Those wanted elsewhere of which everything is done, or for which that took too long."""
        return [o for o in self._owned.values() if o.leave_by is not None and (o.is_drained or o.leave_by <= now)]

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[Watermark], list[Partition]]:
        """The watermarks of what is held, as places; and the partitions that are not, or not as they were read."""
        moves: list[Watermark] = []
        lost: list[Partition] = []
        for partition, position in watermarks.items():
            owned, place = self._owned.get(partition), place_of(position)
            if owned is None or partition in self._fenced or place > owned.read:
                lost.append(partition)
            elif place > owned.done:
                moves.append((owned, place))
        return moves, lost


def is_current(owned: Owned, kept: Kept[Cursor] | None, me: str) -> bool:
    """Whether the lease is still this one, as far as is written; what was read before our last change says nothing."""
    if kept is None:
        return False
    return kept.revision < owned.revision or (kept.value.owner == me and kept.value.epoch == owned.epoch)


def place_of(position: str) -> int:
    """The place in the stream that a position names. Raises UsageError for what is no position of this broker."""
    if position.isascii() and position.isdigit():
        return int(position)
    raise UsageError(f"{position!r} is no position of a topic on NATS: positions are whole numbers from 0")
