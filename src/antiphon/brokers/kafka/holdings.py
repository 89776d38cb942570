"""Which partitions does a member hold, what of them waits to be fetched, and what must its reader be told?

Two threads use this: the one that polls the driver, and that of the event loop. Whoever touches what it holds has
`changed`, which the methods take by themselves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from antiphon.brokers.kafka.places import Place, offset_of
from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition
from antiphon.errors import AntiphonError

MOST = 4_000
"""Messages that wait in all partitions together before the driver is asked for more."""
MOST_BYTES = 16 << 20


class Lane:
    """One partition that is held."""

    __slots__ = (
        "bytes", "done", "has_gap", "is_followed", "is_leaving", "is_misplaced", "is_parked", "is_paused", "next",
        "partition", "queue", "skipped", "token",
    )  # fmt: skip

    def __init__(self, partition: Partition, place: Place, *, is_misplaced: bool = False) -> None:
        self.partition = partition
        self.next = self.done = place.offset
        """The offsets of what is handed out next, and of what is settled next."""
        self.token, self.skipped = place.token, place.skipped
        self.queue: deque[Delivery] = deque()
        self.bytes = 0
        self.is_paused = self.is_leaving = self.has_gap = False
        self.is_misplaced = is_misplaced
        """Whether the driver reads it elsewhere, so that what it hands over must not be kept."""
        self.is_followed = not is_misplaced
        """Whether it is committed that the group follows the seek of `token`."""
        self.is_parked = False
        """Whether the driver does not read it, since its reader does not, either."""

    @property
    def is_drained(self) -> bool:
        """Whether everything handed out is settled."""
        return self.done >= self.next

    @property
    def place(self) -> Place:
        return Place(self.done, self.token, self.skipped)

    def drop(self) -> None:
        """Forget what was not handed out."""
        self.queue.clear()
        self.bytes = 0


class Holdings:
    """What a member holds. `ring` wakes a waiting fetch, from any thread."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.changed = threading.Condition()
        self.lanes: dict[Partition, Lane] = {}
        self.trouble: AntiphonError | None = None
        """Told once by the next fetch."""
        self.failure: AntiphonError | None = None
        """Told by every fetch until the group is moved."""
        self.refusal: AntiphonError | None = None
        """Told by every fetch that finds nothing, until we are let in again."""
        self.ring = ring
        self._fenced: set[Partition] = set()
        """Lost by a notice that was not taken yet: what the reader holds of these must not be committed."""
        self._paused_topics: set[str] = set()
        self._notices: list[Notice] = []
        self._has_alarm = False

    def gain(self, lanes: Iterable[Lane]) -> None:
        """Hold these from now on."""
        with self.changed:
            new = list(lanes)
            self.lanes.update((lane.partition, lane) for lane in new)
            if new:
                self._tell(NoticeKind.ASSIGNED, [lane.partition for lane in new])

    def put(self, partition: Partition, deliveries: Sequence[Delivery], size: int) -> None:
        """Keep what the driver handed over, if the partition is still read from there. Who put all there was rings."""
        with self.changed:
            lane = self.lanes.get(partition)
            if lane is not None and not (lane.is_leaving or lane.is_misplaced or lane.is_parked or lane.has_gap):
                lane.queue.extend(deliveries)
                lane.bytes += size

    def take(self, limit: int, max_bytes: int) -> list[Delivery]:
        """What may be handed out, each partition its share. Raises what has to be told."""
        with self.changed:
            self._raise_trouble()
            taken: list[Delivery] = []
            ready = sorted(filter(self._is_ready, self.lanes.values()), key=_waiting)
            for index, lane in enumerate(ready):
                share = -(-(limit - len(taken)) // (len(ready) - index))
                if share <= 0 or (taken and max_bytes <= 0):
                    break
                max_bytes -= _take_from(lane, taken, share, max_bytes)
                # Of equal ones whoever was served stands at the end of the line.
                del self.lanes[lane.partition]
                self.lanes[lane.partition] = lane
            if taken:
                self.changed.notify_all()
            elif (told := self.failure or self.refusal) is not None:
                raise told
            return taken

    def _raise_trouble(self) -> None:
        if self.trouble is not None:
            error, self.trouble = self.trouble, None
            raise error

    def _is_ready(self, lane: Lane) -> bool:
        return (
            bool(lane.queue) and not lane.is_leaving and not self.is_shut(lane) and lane.partition not in self._fenced
        )

    def is_shut(self, lane: Lane) -> bool:
        """Whether its reader does not want it now."""
        return lane.is_paused or lane.partition.topic in self._paused_topics

    def park(self) -> list[Lane]:
        """Forget what waits of those that their reader does not want now, until `unpark`; returns them."""
        with self.changed:
            shut = [lane for lane in self.lanes.values() if lane.queue and self.is_shut(lane)]
            for lane in shut:
                lane.drop()
                lane.is_parked = True
            return shut

    def unpark(self) -> None:
        """Let the driver read again what was parked, and is wanted now."""
        with self.changed:
            for lane in self.lanes.values():
                if lane.is_parked and not self.is_shut(lane):
                    lane.is_parked, lane.is_misplaced = False, True

    def is_full(self, times: int = 1) -> bool:
        """Whether what waits is enough, or so many times that."""
        with self.changed:
            lanes = self.lanes.values()
            messages, size = sum(len(lane.queue) for lane in lanes), sum(lane.bytes for lane in lanes)
            return messages >= times * MOST or size >= times * MOST_BYTES

    def partitions(self) -> tuple[Partition, ...]:
        """What is held now."""
        with self.changed:
            return tuple(self.lanes)

    def gaps(self) -> list[Lane]:
        """Those of which everything was fetched, and what comes next is gone; none once that was told."""
        with self.changed:
            return [
                lane
                for lane in self.lanes.values()
                if lane.has_gap and not lane.queue and not lane.is_misplaced and self.failure is None
            ]

    def parked(self) -> set[Partition]:
        """What the driver does not read until `unpark`."""
        with self.changed:
            return {lane.partition for lane in self.lanes.values() if lane.is_parked}

    def take_alarm(self) -> bool:
        """Whether something was taken away since the reader was told last."""
        with self.changed:
            had, self._has_alarm = self._has_alarm, False
            return had

    def take_notices(self) -> list[Notice]:
        """What the reader was not told yet; what it lost may be read again from now on."""
        with self.changed:
            taken, self._notices = self._notices, []
            self._has_alarm = False
            if self._fenced:
                self._fenced.clear()
                self.ring()
            return taken

    def drop(self, kind: NoticeKind, partitions: Iterable[Partition]) -> None:
        """Hold these no more."""
        with self.changed:
            gone = [partition for partition in partitions if self.lanes.pop(partition, None) is not None]
            if gone:
                self._lose(kind, gone)
            self.changed.notify_all()

    def lose_all(self) -> None:
        """Nothing is held any more, and what was handed out is void."""
        with self.changed:
            self.drop(NoticeKind.LOST, self.partitions())

    def void(self, partitions: Sequence[Partition]) -> None:
        """What was handed out of these is void: say so, and begin anew with those that are held."""
        with self.changed:
            void = [partition for partition in partitions if partition not in self._fenced]
            held = [partition for partition in void if partition in self.lanes]
            for partition in held:
                self.lanes[partition] = Lane(partition, self.lanes[partition].place, is_misplaced=True)
            if void:
                self._lose(NoticeKind.LOST, void)
            if held:
                self._tell(NoticeKind.ASSIGNED, held)
            self.changed.notify_all()

    def move(self, places: Mapping[Partition, Place]) -> None:
        """The group was moved: what was handed out of these before is void, and they go on there."""
        with self.changed:
            moved = [
                partition
                for partition, place in places.items()
                if (lane := self.lanes.get(partition)) is not None and lane.token != place.token
            ]
            for partition in moved:
                place = places[partition]._replace(skipped=self.lanes[partition].skipped)
                self.lanes[partition] = Lane(partition, place, is_misplaced=True)
            if moved:
                self.failure = None
                self._lose(NoticeKind.LOST, moved)
                self._tell(NoticeKind.ASSIGNED, moved)
                self.changed.notify_all()

    def _lose(self, kind: NoticeKind, partitions: Sequence[Partition]) -> None:
        if kind is NoticeKind.LOST:
            self._fenced.update(partitions)
        self._has_alarm = True
        self._tell(kind, partitions)

    def _tell(self, kind: NoticeKind, partitions: Sequence[Partition]) -> None:
        self._notices.append(Notice(kind, tuple(partitions)))
        self.ring()

    def report(self, error: AntiphonError, *, is_final: bool = False, until_let_in: bool = False) -> None:
        """Let fetches raise this: once, or until the group is moved, or until we are let in again."""
        with self.changed:
            if is_final:
                self.failure = error
            else:
                self.trouble = error
            if until_let_in:
                self.refusal = error
            self.ring()

    def let_in(self) -> None:
        """We are let in again."""
        with self.changed:
            self.refusal = None

    def set_paused(self, partitions: Iterable[Partition], paused: bool) -> None:
        with self.changed:
            for partition in partitions:
                if (lane := self.lanes.get(partition)) is not None:
                    lane.is_paused = paused
            self.ring()
            self.changed.notify_all()

    def set_topic_paused(self, topic: str, paused: bool) -> None:
        """Whether to hand out anything of this topic, whatever is gained of it later."""
        with self.changed:
            (self._paused_topics.add if paused else self._paused_topics.discard)(topic)
            self.ring()
            self.changed.notify_all()

    def prepare_to_leave(self, partitions: Collection[Partition]) -> None:
        """Hand out no more of these."""
        with self.changed:
            for partition in partitions:
                if (lane := self.lanes.get(partition)) is not None:
                    lane.is_leaving = True
                    lane.drop()

    def drained_of(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those that are held and of which everything handed out is settled."""
        with self.changed:
            return [p for p in partitions if (lane := self.lanes.get(p)) is not None and lane.is_drained]

    def sort_out(self, watermarks: Mapping[Partition, str]) -> tuple[list[tuple[Lane, int]], list[Partition]]:
        """Which lanes move to which offset; and the partitions that are not held, or not as they were read."""
        with self.changed:
            moves: list[tuple[Lane, int]] = []
            lost: list[Partition] = []
            for partition, position in watermarks.items():
                lane, offset = self.lanes.get(partition), offset_of(position) + 1
                if lane is None or partition in self._fenced or offset > lane.next:
                    lost.append(partition)
                elif offset > lane.done:
                    moves.append((lane, offset))
            return moves, lost


def _waiting(lane: Lane) -> int:
    return len(lane.queue)


def _take_from(lane: Lane, taken: list[Delivery], share: int, max_bytes: int) -> int:
    """Move up to `share` of its deliveries over, of together at most `max_bytes`, though at least one in all."""
    queue = lane.queue
    if len(queue) <= share and lane.bytes <= max_bytes:
        taken += queue
        size = lane.bytes
        queue.clear()
    else:
        size = 0
        for _ in range(min(share, len(queue))):
            more = len(queue[0].message.data or b"")
            if taken and size + more > max_bytes:
                break
            taken.append(queue.popleft())
            size += more
    if taken and taken[-1].partition == lane.partition:
        lane.next = int(taken[-1].position) + 1
    lane.bytes -= size
    return size
