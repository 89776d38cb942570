"""How does what the event loop wants committed reach the driver, and how does the loop learn of it?

The driver lets one thread in at a time, and a thread that polls in a loop lets no other in. So the polling thread
commits, between two polls, all that was asked for until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from antiphon.brokers.kafka.client import Consumer, KafkaError, KafkaException, TopicPartition, at
from antiphon.brokers.kafka.faults import AWAY, MOVING, NOT_A_MEMBER, fault
from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.errors import ClosedError

Moves = Sequence[tuple[Lane, int]]


class Request:
    """One commit that was asked for, by a task that waits for `done`."""

    def __init__(self, moves: Moves) -> None:
        self.moves = moves
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

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


class Commits:
    """What waits to be committed for one member. All but `ask` and `end` belongs to the polling thread."""

    def __init__(self, holdings: Holdings, group: str, where: str) -> None:
        self._holdings, self._group, self._where = holdings, group, where
        self._requests: list[Request] = []
        self._is_over = False

    def ask(self, moves: Moves) -> Request:
        """Ask for these; the request's `done` raises BrokerError."""
        with self._holdings.changed:
            if self._is_over:
                raise ClosedError(f"the subscription of group {self._group!r}", "commit")
            self._requests.append(request := Request(moves))
            self._holdings.changed.notify_all()
        return request

    def end(self) -> None:
        """Commit no more; whoever waits is told."""
        with self._holdings.changed:
            self._is_over = True
            requests, self._requests = self._requests, []
        for request in requests:
            request.answer(ClosedError(f"the subscription of group {self._group!r}", "commit"))

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits."""
        return bool(self._requests)

    def serve(self, consumer: Consumer, noted: Callable[[Lane], None]) -> None:
        """Commit what was asked for; what must wait for the group to settle stays asked for."""
        if not self._requests:
            return
        with self._holdings.changed:
            requests, self._requests = self._requests, []
            # The last word of a lane holds; what is not held any more is left out.
            wanted: dict[Lane, int] = {}
            for request in requests:
                for lane, offset in request.moves:
                    if self._holdings.lanes.get(lane.partition) is lane:
                        wanted[lane] = max(offset, wanted.get(lane, 0))
        places = [
            at(lane.partition, *Place(offset, lane.token, lane.skipped).committed()) for lane, offset in wanted.items()
        ]
        error = commit(consumer, places) if places else None
        if error is None:
            self._finish(wanted, noted)
        elif error.code() in NOT_A_MEMBER:
            self._holdings.lose_all()
            error = None
        self._answer(requests, error)

    def _finish(self, moved: dict[Lane, int], noted: Callable[[Lane], None]) -> None:
        with self._holdings.changed:
            for lane, offset in moved.items():
                lane.done = max(lane.done, offset)
                lane.is_followed = True
                noted(lane)
            self._holdings.changed.notify_all()

    def _answer(self, requests: Sequence[Request], error: KafkaError | None) -> None:
        for request in requests:
            if error is None:
                request.answer()
            elif error.code() in MOVING | AWAY:
                if not request.done.cancelled():  # its task ran out of patience, and asks again
                    with self._holdings.changed:
                        self._requests.append(request)
            else:
                topic = request.moves[0][0].partition.topic
                request.answer(fault(error, self._where, f"commit for group {self._group!r}", topic))


def commit(consumer: Consumer, places: list[TopicPartition]) -> KafkaError | None:
    """Commit these, and wait until that is durable; returns what went wrong."""
    try:
        answers = consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        found: object = error.args[0]
        return found if isinstance(found, KafkaError) else KafkaError(KafkaError.UNKNOWN, str(error))
    return next((each.error for each in answers if each.error is not None), None)
