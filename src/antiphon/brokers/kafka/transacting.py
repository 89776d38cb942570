"""How does what a member made leave in one transaction of the cluster with its watermarks?

The member has a producer of its own for that. The cluster takes the watermarks in the transaction only from who is a
member now (KIP-447), so that of two that handled the same messages one leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
from antiphon.brokers.kafka.faults import BY_TOKEN, MOVING, NOT_A_MEMBER, fault
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.kafka.producing import refusal_of
from antiphon.brokers.ports import Partition
from antiphon.errors import ConnectionLostError, LeaseLostError, PublishError, Refusal
from antiphon.events.message import Message, Outgoing

Moves = Sequence[tuple[Lane, int]]
Note = Callable[[KafkaError | BaseException | None, object], None]
LONGEST = 15.0
"""Seconds that a transaction may take: for so long the end of a dead process's one keeps readers waiting."""
_PAUSE = 0.05


class Unsure(NamedTuple):
    """A transaction of which it is not known whether it was committed."""

    places: Mapping[Partition, Committed]
    moves: Moves
    ids: frozenset[str]


class Transactions:
    """The transactions of one member. One at a time; several callers take turns."""

    def __init__(
        self, conf: Conf, patience: float, holdings: Holdings, commits: Commits, positions: Positions, where: str
    ) -> None:
        self._conf, self._patience, self._where = conf, patience, where
        self._by_token = conf.get("sasl.mechanism") == BY_TOKEN
        self._holdings, self._commits, self._positions = holdings, commits, positions
        self._producer: Producer | None = None
        self._unsure: Unsure | None = None
        self._turn = threading.Lock()

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
            producer = self._ready()
            outgoing = self._without_what_left(group, outgoing)
            metadata = self._commits.ask_who().result(self._patience)
        except KafkaException as error:
            tried = f"begin a transaction for group {group!r}"
            raise fault(error, self._where, tried, by_token=self._by_token) from error
        except TimeoutError as error:
            raise ConnectionLostError(f"{self._where} keeps the reading of group {group!r} waiting") from error
        self._require_held(group, moves)
        places = {lane.partition: Place(offset, lane.token, lane.skipped).committed() for lane, offset in moves}
        try:
            producer.begin_transaction()
            if refusals := self._produce(producer, outgoing):
                self._abort(producer)
                raise PublishError(refusals)
            self._send_offsets(producer, places, metadata)
        except KafkaException as error:
            self._abort(producer)
            raise self._failure(group, error_of(error)) from error
        self._end(group, producer, Unsure(places, moves, frozenset(one.message.id for one in outgoing)))
        self._finish(moves)

    def _ready(self) -> Producer:
        """The producer, with whatever it did before ended."""
        if self._producer is None:
            producer = make_producer(self._conf)
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
        return [one for one in outgoing if one.message.id not in unsure.ids]

    def _require_held(self, group: str, moves: Moves) -> None:
        # After it was asked which member we are: what is taken from us from now on makes that answer void.
        with self._holdings.changed:
            lost = [lane.partition for lane, _ in moves if self._holdings.lanes.get(lane.partition) is not lane]
        if lost:
            raise lost_error(group, lost)

    def _produce(self, producer: Producer, outgoing: Sequence[Outgoing]) -> list[Refusal]:
        """Write these and wait until the cluster has them; returns what was refused."""
        failures: dict[int, KafkaError | BaseException] = {}
        for index, (topic, message) in enumerate(outgoing):
            _write(producer, topic, message, _noting(failures, index))
        if producer.flush(LONGEST):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the messages were not confirmed in time"))  # noqa: SLF001 - public in the driver
        return [refusal_of(outgoing[index], error) for index, error in sorted(failures.items())]

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

    def _end(self, group: str, producer: Producer, work: Unsure) -> None:
        try:
            self._insist(producer.commit_transaction)
        except KafkaException as error:
            found = error_of(error)
            if found.txn_requires_abort():
                self._abort(producer)
                raise self._failure(group, found) from error
            self._unsure, self._producer = work, None
            raise ConnectionLostError(
                f"whether a transaction of group {group!r} was committed is not known: {self._where} answers "
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
            lost = tuple(self._holdings.lanes)
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


def _write(producer: Producer, topic: str, message: Message, note: Note) -> None:
    """Let the driver send this; `note` is told what became of it."""
    while True:
        try:
            producer.produce(topic, message.data, key_bytes(message.key), on_delivery=note, headers=to_record(message))
        except BufferError:
            producer.poll(_PAUSE)
            continue
        except (UnicodeError, TypeError, ValueError) as error:
            note(error, None)
        return


def lost_error(group: str, lost: Sequence[Partition]) -> LeaseLostError:
    names = ", ".join(f"{topic}/{number}" for topic, number in lost)
    return LeaseLostError(f"group {group!r} reads {names} elsewhere by now: what was made of it here was taken back")
