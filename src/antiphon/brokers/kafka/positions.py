"""Where do groups stand, and how is a group without members moved?

The driver's admin client can do both, but ends the process when the coordinator of a group is lost while it is asked:
an assertion in its library fails, also in deleting and describing groups. A consumer that never joins outlives that.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TypeVar

from antiphon.brokers.kafka.client import (
    REFUSALS,
    Committed,
    Conf,
    KafkaError,
    KafkaException,
    TopicPartition,
    at,
    committed_of,
    error_of,
    make_consumer,
    partition_of,
)
from antiphon.brokers.kafka.faults import AWAY
from antiphon.brokers.ports import Partition

Answer = TypeVar("Answer")
_PAUSE = 0.05
_GROUPS = 32
_LOOK = 2.0
_POLL = 0.005
_GOODBYE = 3.0
"""Seconds that closing waits for what is on its way."""
_HAS_MEMBERS = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.STALE_MEMBER_EPOCH})


class Positions:
    """What groups committed, by one account for each group that was asked about lately."""

    def __init__(self, conf_of: Callable[[str], Conf], patience: timedelta) -> None:
        self._conf_of, self._patience = conf_of, patience.total_seconds()
        self._accounts: dict[str, _Account] = {}
        self._turn = threading.Lock()

    async def committed(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, Committed]:
        """Where a group stands in those of these where it does. Raises KafkaException."""
        return await asyncio.to_thread(self.read, group, partitions)

    def read(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, Committed]:
        """As `committed`, for threads; blocks."""
        return self._account(group).read(partitions) if partitions else {}

    async def move(self, group: str, places: Mapping[Partition, Committed]) -> bool:
        """Commit these for a group of which nobody is a member; False, with nothing done, where somebody is.

        Raises KafkaException; where the cluster did not answer in time it may do it later all the same.
        """
        return await asyncio.to_thread(lambda: self._account(group).write(places)) if places else True

    async def close(self) -> None:
        """Let go of all, and let whoever waits for the cluster wait no more. Twice is safe."""
        with self._turn:
            accounts, self._accounts = list(self._accounts.values()), {}
        threads: list[threading.Thread] = []
        for account in accounts:
            account.is_over = True
            threads.append(threading.Thread(target=account.close, name="antiphon-kafka-closing", daemon=True))
            threads[-1].start()
        await asyncio.to_thread(_join, threads)

    def _account(self, group: str) -> _Account:
        with self._turn:
            account = self._accounts.pop(group, None) or _Account(self._conf_of(group), self._patience)
            if len(self._accounts) >= _GROUPS:
                # Not closed, since another thread may be about to use it: it ends with whoever does so last.
                del self._accounts[next(iter(self._accounts))]
            self._accounts[group] = account
            return account


class _Account:
    """A consumer of one group that never joins. Threads take turns; each waits for at most `patience` seconds."""

    def __init__(self, conf: Conf, patience: float) -> None:
        self._patience = patience
        self._answers: list[tuple[KafkaError | None, list[TopicPartition]]] = []
        self._consumer = make_consumer({**conf, "on_commit": self._on_commit})
        self._turn = threading.Lock()
        self.is_over = False
        """Whether the cluster is to be waited for no more."""

    def read(self, partitions: Collection[Partition]) -> Mapping[Partition, Committed]:
        with self._turn:
            return self._insist(lambda _: committed_of(self._consumer, partitions, _LOOK))

    def write(self, places: Mapping[Partition, Committed]) -> bool:
        with self._turn:
            try:
                self._insist(lambda deadline: self._commit(places, deadline))
            except KafkaException as error:
                if error_of(error).code() in _HAS_MEMBERS:
                    return False
                raise
        return True

    def close(self) -> None:
        with self._turn:
            self._consumer.close()

    def _insist(self, call: Callable[[float], Answer]) -> Answer:
        """Make a call until it is answered. Raises KafkaException."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return call(deadline)
            except KafkaException as error:
                self._hear(error)
                if error_of(error).code() not in AWAY or self.is_over or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _hear(self, cause: KafkaException | None = None) -> None:
        """Serve the driver; raise KafkaException where it says that the cluster will not answer us."""
        heard = self._consumer.poll(0 if cause is not None else _POLL)
        if heard is not None and (why := heard.error()) is not None and why.code() in REFUSALS:
            raise KafkaException(why) from cause

    def _commit(self, places: Mapping[Partition, Committed], deadline: float) -> None:
        # Waiting for the answer is ours: the driver's own waits for as long as the cluster stands still.
        self._consumer.commit(offsets=[at(partition, *place) for partition, place in places.items()])
        wanted = {partition: place.offset for partition, place in places.items()}
        while True:
            for error, answered in self._take_answers():
                if {partition_of(each): each.offset for each in answered} == wanted:  # or a late one, of before
                    _raise_first([error, *(each.error for each in answered)])
                    return
            if self.is_over or time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "a commit was not answered in time"))  # noqa: SLF001 - public in the driver
            self._hear()

    def _on_commit(self, error: KafkaError | None, answered: list[TopicPartition]) -> None:
        self._answers.append((error, answered))

    def _take_answers(self) -> list[tuple[KafkaError | None, list[TopicPartition]]]:
        answers, self._answers = self._answers, []
        return answers


def _join(threads: Collection[threading.Thread]) -> None:
    """Wait until these have ended, for a while: the driver closes nothing before a commit is answered, or a minute."""
    deadline = time.monotonic() + _GOODBYE
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))


def _raise_first(errors: Collection[KafkaError | None]) -> None:
    found = next((error for error in errors if error is not None), None)
    if found is not None:
        raise KafkaException(found)
