"""How does what a member made leave in one transaction of the cluster with its watermarks?

The member has a producer of its own for that. The cluster takes the watermarks in the transaction only from who is a
member now (KIP-447), so that of two that handled the same messages one leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import NamedTuple

from antiphon.brokers.kafka.client import (
    Committed,
    Conf,
    KafkaError,
    KafkaException,
    Producer,
    at,
    error_of,
    make_producer,
)
from antiphon.brokers.kafka.committing import Commits
from antiphon.brokers.kafka.envelope import key_bytes, to_record
from antiphon.brokers.kafka.faults import AWAY, BY_TOKEN, MOVING, NOT_A_MEMBER, fault
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.kafka.producing import refusal_of
from antiphon.brokers.ports import Partition
from antiphon.errors import ConnectionLostError, LeaseLostError, PublishError
from antiphon.events.message import Message, Outgoing

Moves = Sequence[tuple[Lane, int]]
Note = Callable[[KafkaError | BaseException | None, object], None]
LONGEST = 15.0
"""Seconds that a transaction may take: for so long the end of a dead process's one keeps readers waiting."""
_UNWRITABLE = (UnicodeError, TypeError, ValueError)
"""What the driver raises for what it has no bytes for."""
_PAUSE = 0.05


class Bundle(NamedTuple):
    """What one transaction is to hold."""

    group: str
    moves: Moves
    places: Mapping[Partition, Committed]
    """Where the group stands after it."""
    outgoing: Sequence[Outgoing]


class Transactions:
    """The transactions of one member. One at a time; several callers take turns."""

    def __init__(
        self,
        conf: Conf,
        patience: float,
        holdings: Holdings,
        commits: Commits,
        positions: Positions,
        where: str,
        limits: Mapping[str, int],
    ) -> None:
        self._conf, self._patience, self._where = conf, patience, where
        self._by_token = conf.get("sasl.mechanism") == BY_TOKEN
        self._holdings, self._commits, self._positions = holdings, commits, positions
        self._limits = limits
        self._largest = inf
        """Bytes of the largest batch that the producer makes, where it was told."""
        self._producer: Producer | None = None
        self._unsure: Bundle | None = None
        """The last one, where it is not known whether it was committed."""
        self._turn = threading.Lock()

    def is_above(self, outgoing: Sequence[Outgoing]) -> bool:
        """Whether the batches of the latest transaction were larger than a topic of these takes, as is known now."""
        return self._least(outgoing) < self._largest

    def _least(self, outgoing: Sequence[Outgoing]) -> float:
        """The smallest of what the topics of these take."""
        limits = self._limits
        return min((limits.get(one.topic, inf) for one in outgoing), default=inf) if limits else inf

    async def commit(self, group: str, moves: Moves, outgoing: Sequence[Outgoing]) -> None:
        """Commit these. Raises PublishError, LeaseLostError, ConnectionLostError or BrokerError: nothing is committed.

        Only where the cluster was lost in the last moment that is not known; then it is looked up at the next call.
        """
        await asyncio.to_thread(self._take_turn, group, moves, outgoing)

    def _take_turn(self, group: str, moves: Moves, outgoing: Sequence[Outgoing]) -> None:
        with self._turn:  # here, since whoever is canceled leaves the thread at work
            self._commit(group, moves, outgoing)

    def _commit(self, group: str, moves: Moves, outgoing: Sequence[Outgoing]) -> None:
        try:
            producer = self._ready(self._least(outgoing))
            outgoing = self._without_what_left(group, outgoing)
            metadata = self._commits.ask_who().result(self._patience)
        except KafkaException as error:
            tried = f"begin a transaction for group {group!r}"
            raise fault(error, self._where, tried, by_token=self._by_token) from error
        except TimeoutError as error:
            raise ConnectionLostError(f"{self._where} keeps the reading of group {group!r} waiting") from error
        self._require_held(group, moves)
        places = {lane.partition: Place(offset, lane.token, lane.skipped).committed() for lane, offset in moves}
        bundle = Bundle(group, moves, places, outgoing)
        try:
            if not self._is_taken(producer, bundle, metadata):
                self._find_refused(producer, bundle, metadata)
        except KafkaException as error:
            raise self._failure(group, error_of(error)) from error
        self._finish(moves)

    def _is_taken(self, producer: Producer, bundle: Bundle, metadata: object) -> bool:
        """Whether a transaction holds it; where not, it may be that a message is to blame.

        The driver tells which where each was given a callback, which would be made and kept for every message. But no
        transaction is committed without all that was written in it: so callbacks are given once one was refused.
        """
        try:
            producer.begin_transaction()
            for topic, message in bundle.outgoing:
                _write(producer, topic, message)
            self._send_offsets(producer, bundle.places, metadata)
            self._end(producer, bundle)
        except _UNWRITABLE:
            self._abort(producer)
            return False
        except KafkaException as error:
            found = error_of(error)
            self._abort(producer)
            if found.code() in NOT_A_MEMBER | MOVING | AWAY or found.fatal():
                raise
            return False
        return True

    def _ready(self, largest: float) -> Producer:
        """The producer, with whatever it did before ended, that makes no larger batches than so many bytes."""
        if largest < self._largest:
            self._producer, self._largest = None, largest
        if self._producer is None:
            conf = self._conf if self._largest == inf else {**self._conf, "batch.size": int(self._largest)}
            producer = make_producer(conf)
            self._insist(producer.init_transactions)
            self._producer = producer
        return self._producer

    def _without_what_left(self, group: str, outgoing: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """What has not left yet, now that the transaction of which nothing was known is over, one way or the other."""
        unsure = self._unsure
        if unsure is None:
            return outgoing
        found = self._positions.read(group, tuple(unsure.places))
        self._unsure = None
        if not all(p in found and found[p].offset >= place.offset for p, place in unsure.places.items()):
            return outgoing
        self._finish(unsure.moves)
        left = {one.message.id for one in unsure.outgoing}
        return [one for one in outgoing if one.message.id not in left]

    def _require_held(self, group: str, moves: Moves) -> None:
        # After it was asked which member we are: what is taken from us from now on makes that answer void.
        with self._holdings.changed:
            lost = [lane.partition for lane, _ in moves if self._holdings.lanes.get(lane.partition) is not lane]
        if lost:
            raise lost_error(group, lost)

    def _find_refused(self, producer: Producer, bundle: Bundle, metadata: object) -> None:
        """The same once more, asking what becomes of each message: raises PublishError for those that are refused."""
        failures: dict[int, KafkaError | BaseException] = {}
        try:
            producer.begin_transaction()
            for index, (topic, message) in enumerate(bundle.outgoing):
                try:
                    _write(producer, topic, message, _noting(failures, index))
                except _UNWRITABLE as error:
                    failures[index] = error
            if producer.flush(LONGEST):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the messages were not confirmed in time"))  # noqa: SLF001 - public in the driver
            if not failures:
                self._send_offsets(producer, bundle.places, metadata)
                self._end(producer, bundle)
        except KafkaException:
            self._abort(producer)
            raise
        if failures:
            self._abort(producer)
            raise PublishError([refusal_of(bundle.outgoing[index], error) for index, error in sorted(failures.items())])

    def _send_offsets(self, producer: Producer, places: Mapping[Partition, Committed], metadata: object) -> None:
        offsets = [at(partition, *place) for partition, place in places.items()]
        self._insist(lambda left: producer.send_offsets_to_transaction(offsets, metadata, left))

    def _insist(self, call: Callable[[float], None]) -> None:
        """Make a call until it is answered. Raises KafkaException."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return call(max(0.1, deadline - time.monotonic()))
            except KafkaException as error:
                if not error_of(error).retriable() or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _end(self, producer: Producer, bundle: Bundle) -> None:
        """Commit it. Raises KafkaException where it is to be taken back, ConnectionLostError where nobody knows."""
        try:
            self._insist(producer.commit_transaction)
        except KafkaException as error:
            found = error_of(error)
            if found.txn_requires_abort():
                raise
            self._unsure, self._producer = bundle, None
            raise ConnectionLostError(
                f"whether a transaction of group {bundle.group!r} was committed is not known: {self._where} answers "
                f"{found.str()} ({found.name()}); it is looked up before the next one"
            ) from error

    def _abort(self, producer: Producer) -> None:
        """Take back what was begun. Where that fails the next producer of this name does it."""
        try:
            self._insist(producer.abort_transaction)
        except KafkaException:
            self._producer = None

    def _failure(self, group: str, error: KafkaError) -> Exception:
        if error.code() in NOT_A_MEMBER:
            with self._holdings.changed:
                lost = self._holdings.partitions()
                self._holdings.lose_all()
            return lost_error(group, lost)
        if error.code() in MOVING or error.fatal():
            return ConnectionLostError(
                f"a transaction of group {group!r} was taken back: {error.str()} ({error.name()}); it is tried again"
            )
        return fault(error, self._where, f"commit a transaction for group {group!r}", by_token=self._by_token)

    def _finish(self, moves: Moves) -> None:
        with self._holdings.changed:
            for lane, offset in moves:
                lane.done = max(lane.done, offset)
                lane.is_followed = True
            self._holdings.changed.notify_all()


def _noting(failures: dict[int, KafkaError | BaseException], index: int) -> Note:
    def note(error: KafkaError | BaseException | None, _: object) -> None:
        if error is not None:
            failures[index] = error

    return note


def _write(producer: Producer, topic: str, message: Message, note: Note | None = None) -> None:
    """Let the driver send this; `note` is told what became of it. Raises what the driver does for what has no bytes."""
    headers = to_record(message)
    while True:
        try:
            producer.produce(topic, message.data, key_bytes(message.key), on_delivery=note, headers=headers)
        except BufferError:
            producer.poll(_PAUSE)
            continue
        return


def lost_error(group: str, lost: Sequence[Partition]) -> LeaseLostError:
    names = ", ".join(f"{topic}/{number}" for topic, number in lost)
    return LeaseLostError(f"group {group!r} reads {names} elsewhere by now: what was made of it here was taken back")
