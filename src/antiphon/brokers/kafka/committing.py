"""How does what the event loop wants committed reach the driver, and how does the loop learn of it?

The driver lets one thread in at a time, and a thread that polls in a loop lets no other in. So the polling thread
sends, between two polls, all that was asked for until then, and hears in one of the next polls what came of it. It does
not stand and wait: the driver would wait for as long as no server lets it in, and nobody would be a member meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

from antiphon.brokers.kafka.client import Consumer, KafkaError, KafkaException, TopicPartition, at, partition_of
from antiphon.brokers.kafka.faults import AWAY, MOVING, NOT_A_MEMBER, fault
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.ports import Partition
from antiphon.errors import ClosedError

logger = logging.getLogger("antiphon.brokers.kafka")

Moves = Sequence[tuple[Lane, int]]
_LONGEST_ANSWER = 5.0
"""Seconds after which what was sent is sent again: the driver may have lost it with a connection."""
_LAST_ANSWER, _POLL = 1.0, 0.02


class Request:
    """One commit that was asked for, by a task that waits for `done`."""

    def __init__(self, moves: Moves) -> None:
        self.moves = moves
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_given_up(self) -> bool:
        """Whether its task waits no more; it asks again."""
        return self.done.cancelled()

    def answer(self, error: Exception | None = None) -> None:
        """Wake the task, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._settle, error)
        except RuntimeError:
            return  # the loop has ended, and nobody waits

    def _settle(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class Wish:
    """A commit that nobody waits for: what it moves is committed with the next one where this is refused."""

    is_given_up = False

    def __init__(self, group: str, moves: Moves) -> None:
        self._group, self.moves = group, moves

    def answer(self, error: Exception | None = None) -> None:
        """Note what it came to."""
        if error is not None:
            logger.info("group %s: its place is committed with the next message: %s", self._group, error)


class _Sent(NamedTuple):
    """A commit that is not answered yet."""

    requests: Sequence[Request | Wish]
    wanted: dict[Lane, int]
    offsets: dict[Partition, int]
    deadline: float


class Commits:
    """What waits to be committed for one member. All but `ask`, `ask_who` and `is_waiting` is the polling thread's."""

    def __init__(self, holdings: Holdings, group: str, where: str, noted: Callable[[Lane], None]) -> None:
        self._holdings, self._group, self._where, self._noted = holdings, group, where, noted
        self._requests: list[Request | Wish] = []
        self._sent: _Sent | None = None
        self._who: list[Future[object]] = []
        """Those who wait to be told which member of the group this is."""
        self._is_over = False

    def ask(self, moves: Moves) -> Request:
        """Ask for these; the request's `done` raises BrokerError."""
        with self._holdings.changed:
            if self._is_over:
                raise ClosedError(f"the subscription of group {self._group!r}", "commit")
            self._requests.append(request := Request(moves))
            self._holdings.changed.notify_all()
        return request

    def wish(self, lanes: Sequence[Lane]) -> None:
        """Commit where these stand."""
        with self._holdings.changed:
            self._requests.append(Wish(self._group, [(lane, lane.done) for lane in lanes]))

    def ask_who(self) -> Future[object]:
        """Ask which member of the group this is now, in the driver's words; raises ClosedError."""
        asked: Future[object] = Future()
        with self._holdings.changed:
            if self._is_over:
                raise ClosedError(f"the subscription of group {self._group!r}", "commit")
            self._who.append(asked)
            self._holdings.changed.notify_all()
        return asked

    def end(self, consumer: Consumer) -> None:
        """Hear what became of the last one, for a moment, and commit no more; whoever still waits is told."""
        deadline = time.monotonic() + _LAST_ANSWER
        with suppress(KafkaException):
            while self.is_sent and time.monotonic() < deadline:
                consumer.poll(_POLL)
        self._take_back()
        with self._holdings.changed:
            self._is_over = True
            requests, self._requests = self._requests, []
            who, self._who = self._who, []
        for asked in who:
            asked.set_exception(ClosedError(f"the subscription of group {self._group!r}", "commit"))
        for request in requests:
            request.answer(ClosedError(f"the subscription of group {self._group!r}", "commit"))

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits."""
        return bool(self._requests or self._who)

    @property
    def is_sent(self) -> bool:
        """Whether one is on its way, of which a poll will tell."""
        return self._sent is not None

    def serve(self, consumer: Consumer) -> None:
        """Send what was asked for, unless an earlier one is still on its way."""
        self._say_who(consumer)
        if self._sent is not None:
            if time.monotonic() < self._sent.deadline:
                return
            self._take_back()
        if not self._requests:
            return
        requests, wanted, places = self._gather()
        if not places:
            self._answer(requests, None)
            return
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._conclude(requests, wanted, _found(error))
        else:
            offsets = {partition_of(place): place.offset for place in places}
            self._sent = _Sent(requests, wanted, offsets, time.monotonic() + _LONGEST_ANSWER)

    def hear(self, error: KafkaError | None, answered: Sequence[TopicPartition]) -> None:
        """What the driver says in a poll: of the one that was sent, or of any that nobody waits for any more."""
        sent = self._sent
        if sent is not None and {partition_of(each): each.offset for each in answered} == sent.offsets:
            self._sent = None
            self._conclude(sent.requests, sent.wanted, error or _first_of(answered))
        elif error is None:
            self._stand_again(answered)

    def _stand_again(self, overtaken: Sequence[TopicPartition]) -> None:
        """Commit once more where we stand, since this may have come last: the driver sends again what was lost."""
        held = self._holdings.lanes
        with self._holdings.changed:
            lanes = [
                lane
                for each in overtaken
                if (lane := held.get(partition_of(each))) is not None and lane.done > each.offset
            ]
            if lanes:
                self.wish(lanes)

    def serve_now(self, consumer: Consumer) -> None:
        """Commit what was asked for, and wait for it: in a callback of the driver, where no poll can tell of it."""
        self._say_who(consumer)
        self._take_back()
        if not self._requests:
            return
        requests, wanted, places = self._gather()
        self._conclude(requests, wanted, _commit(consumer, places) if places else None)

    def _take_back(self) -> None:
        """Wait no more for what was sent; who waits for it still has it asked for."""
        sent, self._sent = self._sent, None
        if sent is not None:
            with self._holdings.changed:
                self._requests[:0] = [request for request in sent.requests if not request.is_given_up]

    def _gather(self) -> tuple[list[Request | Wish], dict[Lane, int], list[TopicPartition]]:
        """All that was asked for, and what it comes to."""
        with self._holdings.changed:
            requests, self._requests = self._requests, []
            # The last word of a lane holds, be it that of a transaction; what is not held any more is left out.
            wanted: dict[Lane, int] = {}
            for request in requests:
                for lane, offset in request.moves:
                    if self._holdings.lanes.get(lane.partition) is lane:
                        wanted[lane] = max(offset, wanted.get(lane, lane.done))
        places = [
            at(lane.partition, *Place(offset, lane.token, lane.skipped).committed()) for lane, offset in wanted.items()
        ]
        return requests, wanted, places

    def _conclude(self, requests: Sequence[Request | Wish], moved: dict[Lane, int], error: KafkaError | None) -> None:
        """Tell who asked; what must wait for the group to settle stays asked for."""
        if error is None:
            self._finish(moved)
        elif error.code() in NOT_A_MEMBER:
            self._holdings.lose_all()
            error = None
        self._answer(requests, error)

    def _say_who(self, consumer: Consumer) -> None:
        while self._who:
            asked = self._who.pop(0)
            try:
                asked.set_result(consumer.consumer_group_metadata())
            except KafkaException as error:
                asked.set_exception(error)

    def _finish(self, moved: dict[Lane, int]) -> None:
        with self._holdings.changed:
            for lane, offset in moved.items():
                lane.done = max(lane.done, offset)
                lane.is_followed = True
                self._noted(lane)
            self._holdings.changed.notify_all()

    def _answer(self, requests: Sequence[Request | Wish], error: KafkaError | None) -> None:
        for request in requests:
            if error is None:
                request.answer()
            elif error.code() in MOVING | AWAY and not isinstance(request, Wish):
                if not request.is_given_up:
                    with self._holdings.changed:
                        self._requests.append(request)
            else:
                topic = request.moves[0][0].partition.topic
                request.answer(fault(error, self._where, f"commit for group {self._group!r}", topic))


def _commit(consumer: Consumer, places: list[TopicPartition]) -> KafkaError | None:
    """Commit these, and wait until that is durable; returns what went wrong."""
    try:
        return _first_of(consumer.commit(offsets=places, asynchronous=False))
    except KafkaException as error:
        return _found(error)


def _found(error: KafkaException) -> KafkaError:
    found: object = error.args[0]
    return found if isinstance(found, KafkaError) else KafkaError(KafkaError.UNKNOWN, str(error))


def _first_of(answered: Sequence[TopicPartition]) -> KafkaError | None:
    return next((each.error for each in answered if each.error is not None), None)
