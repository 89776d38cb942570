"""The thread of one member: it polls the driver, keeps the membership, and hands over what comes.

It polls whatever the reader does, so that a slow handler costs no membership. While enough waits to be fetched it polls
no more, and after a moment tells the driver to read nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import groupby

from antiphon.brokers.kafka.admission import Admission
from antiphon.brokers.kafka.client import (
    Conf,
    Consumer,
    KafkaError,
    KafkaException,
    Record,
    TopicPartition,
    at,
    committed_of,
    make_consumer,
    names_of,
    partition_of,
)
from antiphon.brokers.kafka.committing import Commits
from antiphon.brokers.kafka.delivering import deliveries_of
from antiphon.brokers.kafka.faults import AWAY, DENIED, NEVER, NOT_IN, UNKNOWN_TOPIC
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.leaving import await_joined, leave
from antiphon.brokers.kafka.places import SEEKS, Place, position, standing
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.ports import NoticeKind, Partition, Start, SubscribeOptions
from antiphon.errors import BrokerError, DataLostError, PositionLostError

logger = logging.getLogger("antiphon.brokers.kafka")

_POLL = 0.1
"""Seconds that the driver waits for a message before the thread looks for what else is to be done."""
_POLL_SOON = 0.005
"""The same while something is handled that will have to be committed."""
_AT_ONCE = 1_000
_OVERFULL = 2
"""How many times as much as is enough may wait while a commit is on its way."""
_PATIENCE = 0.5
"""Seconds that the thread waits for room before it stops the driver, which then forgets what it has read ahead."""
_PAUSE = 0.2
_WATERMARKS = 5.0
_COUNT = 1.0


class Reader:
    """A member of a group, read by a thread of its own from `start` until `stop`."""

    def __init__(
        self,
        conf: Conf,
        positions: Positions,
        group: str,
        topics: Sequence[str],
        options: SubscribeOptions,
        holdings: Holdings,
        where: str,
        grace: float,
    ) -> None:
        self.group, self.topics, self._where = group, tuple(topics), where
        self._positions, self._options, self._holdings, self._grace = positions, options, holdings, grace
        self._known: dict[Partition, int] = {}
        """Where this process knows the group to have stood: a cluster that forgot it was wiped."""
        self._orphans: set[Partition] = set()
        """What the driver read at the last count, and nobody held."""
        self._next_count = 0.0
        self.missing: set[str] = set()
        """Topics that the cluster said it does not have."""
        self._is_closing = self._is_joined = False
        self.commits = Commits(holdings, group, where, self._note)
        self._admission = Admission(holdings, where, conf)
        self._report = self._admission.report
        self._is_classic = conf["group.protocol"] == "classic"
        self.consumer: Consumer = make_consumer({**conf, "error_cb": self._on_error, "on_commit": self.commits.hear})
        self._thread = threading.Thread(target=self._run, name=f"antiphon-kafka-{group}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Leave the group; blocks for at most so many seconds, and says whether that was enough."""
        self._is_closing = True
        with self._holdings.changed:
            self._holdings.changed.notify_all()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self.consumer.subscribe(
                list(self.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._is_closing:
                self._turn()
        except Exception as error:
            logger.exception("reading of group %s stopped", self.group)
            reason = BrokerError(f"reading for group {self.group!r} from {self._where} stopped: {error!r}")
            self._holdings.report(reason, is_final=True)
        finally:
            try:
                self.commits.end(self.consumer)
                if self._is_classic:
                    leave(self.consumer, self.group, lambda: self._is_joined)
                else:
                    await_joined(self.consumer, began, lambda: self._is_joined)
            finally:
                self.consumer.close()

    def _turn(self) -> None:
        self.commits.serve(self.consumer)
        self._admission.look(self.consumer)
        self._adopt_orphans()
        self._settle_gaps()
        self._reposition()
        if not self._wait_for_room():
            return
        record = self.consumer.poll(self._poll_wait())
        if record is not None:
            self._hand_over([record])
            # All that is there, before anything is handed out, so that no partition hides the others.
            while not self._holdings.is_full() and (more := self.consumer.consume(_AT_ONCE, 0)):
                self._hand_over(more)
            self._holdings.ring()

    def _note(self, lane: Lane) -> None:
        self._known[lane.partition] = lane.done

    def _poll_wait(self) -> float:
        """How long the driver may wait for a message: nothing wakes it when a commit is asked for."""
        with self._holdings.changed:
            return _POLL if all(lane.is_drained for lane in self._holdings.lanes.values()) else _POLL_SOON

    def _hand_over(self, records: Sequence[Record]) -> None:
        for (topic, number), run in groupby(records, _lane_of):
            good = [record for record in run if record.error() is None or self._hear(record)]
            if good:
                partition = Partition(topic, number)
                deliveries, size = deliveries_of(partition, good)
                self._holdings.put(partition, deliveries, size)

    def _hear(self, record: Record) -> bool:
        """Learn of what went wrong; False, since it is no message."""
        error, topic, number = record.error(), record.topic(), record.partition()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public in the driver
            return False
        if error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and number is not None:  # noqa: SLF001 - as above
            with self._holdings.changed:
                if (lane := self._holdings.lanes.get(Partition(topic, number))) is not None:
                    lane.has_gap = True
        elif error.code() in UNKNOWN_TOPIC:
            self.missing.update(self.topics if topic is None else [topic])
        else:
            self._on_error(error)
        return False

    def _on_error(self, error: KafkaError) -> None:
        """What concerns the whole client. That one of many brokers is away concerns nobody but the driver."""
        if error.code() in UNKNOWN_TOPIC:  # which of them it does not say
            self.missing.update(self.topics)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN or error.code() in NOT_IN | DENIED | NEVER or error.fatal():  # noqa: SLF001 - as above
            self._report(error, f"read for group {self.group!r}")
        elif error.code() not in AWAY:
            logger.warning("group %s: %s answers %s", self.group, self._where, error)

    # What the driver tells of the group. It waits for each of these to return.

    def _on_assign(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        partitions = names_of(given)
        lanes = self._lanes(partitions)
        # Who is leaving takes them, too: what was not taken cannot be given back.
        consumer.incremental_assign([at(lane.partition, lane.next) for lane in lanes] or given)
        self._holdings.gain(lanes)
        self._is_joined = True

    def _on_revoke(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        partitions = names_of(given)
        self._holdings.prepare_to_leave(partitions)
        if not self._is_closing:
            self._await_drained(partitions)
        drained = self._holdings.drained_of(partitions)
        self._holdings.drop(NoticeKind.REVOKED, drained)
        self._holdings.drop(NoticeKind.LOST, partitions)
        consumer.incremental_unassign(given)

    def _on_lost(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        self._is_joined = False
        self._holdings.drop(NoticeKind.LOST, names_of(given))
        consumer.incremental_unassign(given)

    def _await_drained(self, partitions: Sequence[Partition]) -> None:
        """Let what was handed out of these be settled, for a while."""
        deadline = time.monotonic() + self._grace
        changed = self._holdings.changed
        while (left := deadline - time.monotonic()) > 0 and not self._is_closing:
            self.commits.serve_now(self.consumer)
            with changed:
                held = [partition for partition in partitions if partition in self._holdings.lanes]
                if len(self._holdings.drained_of(held)) == len(held):
                    return
                changed.wait(_POLL_SOON if self.commits.is_waiting else left)

    # Where to read.

    def _lanes(self, partitions: Sequence[Partition]) -> list[Lane]:
        if not partitions:
            return []
        while not self._is_closing:
            try:
                return self._find_lanes(partitions)
            except KafkaException as error:
                self._report(error, f"find where group {self.group!r} stands")
                time.sleep(_PAUSE)
        return []

    def _find_lanes(self, partitions: Sequence[Partition]) -> list[Lane]:
        commands = self._positions.read(self.group + SEEKS, partitions)
        committed = committed_of(self.consumer, partitions, _WATERMARKS)
        places = standing(committed, commands)
        unknown = [partition for partition in partitions if partition not in places]
        starts = self._starts(unknown)
        lanes: list[Lane] = []
        for partition in partitions:
            known = places.get(partition)
            lane = Lane(partition, known or starts[partition])
            if known is not None:
                self._known[partition] = known.offset
            lane.has_gap = partition in unknown and partition in self._known
            # What is committed already need not be; what a command says must be.
            lane.is_followed = known is not None and known.committed() == committed.get(partition)
            lane.is_misplaced = not lane.has_gap and not lane.is_followed
            lanes.append(lane)
        return lanes

    def _starts(self, partitions: Sequence[Partition]) -> Mapping[Partition, Place]:
        """Where to begin in what the group has no position in: in a new partition at its start, whatever is wanted."""
        places: dict[Partition, Place] = {}
        for partition in partitions:
            if partition in self._known:
                places[partition] = Place(self._known[partition])
                continue
            start, end = self.consumer.get_watermark_offsets(at(partition), timeout=_WATERMARKS)
            at_end = self._options.start is Start.END and not self._knows(partition.topic)
            places[partition] = Place(end if at_end else start)
        return places

    def _knows(self, topic: str) -> bool:
        """Whether the group has a position anywhere in the topic."""
        count = len(self.consumer.list_topics(topic, _WATERMARKS).topics[topic].partitions)
        return bool(committed_of(self.consumer, [Partition(topic, number) for number in range(count)], _WATERMARKS))

    def _adopt_orphans(self) -> None:
        """Hold again what the driver still reads for us, though a commit was answered that we are no member."""
        if time.monotonic() < self._next_count:
            return
        self._next_count = time.monotonic() + _COUNT
        assigned = set(names_of(self.consumer.assignment()))
        with self._holdings.changed:
            orphans = assigned - self._holdings.lanes.keys()
        orphans, self._orphans = orphans & self._orphans, orphans
        lanes = self._lanes(sorted(orphans))
        for lane in lanes:
            lane.is_misplaced = not lane.has_gap
        self._holdings.gain(lanes)

    def _settle_gaps(self) -> None:
        """Go on where what comes next in a partition is gone, or tell."""
        for lane in self._holdings.gaps():
            try:
                start, end = self.consumer.get_watermark_offsets(at(lane.partition), timeout=_WATERMARKS)
            except KafkaException as error:
                self._report(error, f"read {_name(lane.partition)}")
                return
            self._pass_over(lane, start, end)

    def _pass_over(self, lane: Lane, start: int, end: int) -> None:
        if self._options.lost is Start.STOP:
            self._holdings.report(_lost(self.group, lane, start, end, self._where), is_final=True)
            return
        go_on = start if self._options.lost is Start.START else end
        with self._holdings.changed:
            if not lane.is_drained:
                return
            lane.skipped += max(0, go_on - lane.next)
            lane.next = lane.done = go_on
            lane.has_gap, lane.is_misplaced = False, True
        logger.warning("group %s goes on at %s of %s", self.group, go_on, _name(lane.partition))

    def _reposition(self) -> None:
        """Let the driver read where we do, and commit where the group stands since."""
        with self._holdings.changed:
            lanes = [lane for lane in self._holdings.lanes.values() if lane.is_misplaced and not lane.is_leaving]
            self._holdings.unpark()
        if not lanes:
            return
        self.consumer.incremental_unassign([at(lane.partition) for lane in lanes])
        self.consumer.incremental_assign([at(lane.partition, lane.next) for lane in lanes])
        self.consumer.resume([at(lane.partition) for lane in lanes])
        with self._holdings.changed:
            for lane in lanes:
                lane.is_misplaced = False
        self.commits.wish(lanes)

    def _wait_for_room(self) -> bool:
        """Whether the driver may be polled for more; if not, some time has passed.

        It is while a commit is on its way, of which only a poll tells, though what comes with it is a little too much.
        """
        holdings = self._holdings
        with holdings.changed:
            if not holdings.is_full() or (self.commits.is_sent and not holdings.is_full(_OVERFULL)):
                return True
            if self._park() or (not self.commits.is_sent and holdings.changed.wait_for(self._has_work, _PATIENCE)):
                return False
        self._idle()
        return False

    def _has_work(self) -> bool:
        return self._is_closing or self.commits.is_waiting or not self._holdings.is_full()

    def _park(self) -> bool:
        """Forget what waits of partitions that nobody wants now; whether there was any."""
        shut = self._holdings.park()
        if shut:
            self.consumer.pause([at(lane.partition) for lane in shut])
        return bool(shut)

    def _idle(self) -> None:
        """Keep the membership, but read nothing, until there is room."""
        everything = self.consumer.assignment()
        self.consumer.pause(everything)
        while not self._is_closing:
            self.commits.serve(self.consumer)
            record = self.consumer.poll(_POLL_SOON)
            if record is not None:
                self._hand_over([record])
            if not self._holdings.is_full() or self._park():
                break
        parked = self._holdings.parked()
        self.consumer.resume([each for each in self.consumer.assignment() if partition_of(each) not in parked])


def _lost(group: str, lane: Lane, start: int, end: int, where: str) -> PositionLostError | DataLostError:
    """Why what comes next in a partition is not there: only what lies before its start was deleted in good order."""
    (topic, number), stood = lane.partition, position(lane.next)
    if lane.next < start:
        return PositionLostError(group, topic, number, stood, str(start))
    return DataLostError(
        f"group {group!r} stood at {stood} of {topic}/{number}, which {where} does not know: it was emptied, set back "
        f"or replaced, or the topic was made anew, and ends at {position(end)} there: restore it, or seek the group "
        f"(antiphon groups seek {group})"
    )


def _lane_of(record: Record) -> tuple[str, int]:
    return record.topic() or "", record.partition() or 0


def _name(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number}"
