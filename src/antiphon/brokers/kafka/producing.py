"""How does a batch of messages reach the cluster, and how is it known that all of it is held?

The driver writes in the background and reports each message to a thread that polls it. The thread counts; the caller is
woken once, when its whole batch is held or refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from antiphon.brokers.kafka.client import Conf, KafkaError, KafkaException, Producer, Record, error_of, make_producer
from antiphon.brokers.kafka.envelope import key_bytes, to_record
from antiphon.brokers.kafka.faults import AWAY, NO_RIGHT, UNKNOWN_TOPIC
from antiphon.errors import Refusal
from antiphon.events.message import Outgoing

_IDLE = 1.0
"""Seconds between two polls while nothing is on its way: the driver renews tokens and logs in them."""
_BUSY = 0.1
_GOODBYE = 5.0
"""Seconds that closing waits for what is on its way."""
_FULL = 0.002
"""Seconds to wait when the driver's queue has no room."""


class _Batch:
    """What became of the messages of one publish. The loop's thread sends, the polling thread counts."""

    def __init__(self, size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.settled = self._loop.create_future()
        self.failures: dict[int, KafkaError | BaseException] = {}
        self._expected, self._reported = size, 0

    def report(self, index: int, error: KafkaError | None, record: Record) -> None:
        """Called in the polling thread, once for each message that was sent."""
        if error is not None:
            self.failures[index] = error
        self._reported += 1
        if self._reported == self._expected:
            self._finish()

    def refuse(self, index: int, error: BaseException) -> None:
        """This one was not sent."""
        self.failures[index] = error
        self._expected -= 1
        # Either side sees the other's count, since one of them writes last.
        if self._reported == self._expected:
            self._finish()

    def _finish(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return  # the loop has ended, and nobody waits

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)


class Publisher:
    """Sends batches, each key in order. `patience` is how long, in seconds, a batch may take to be held."""

    def __init__(self, conf: Conf, patience: float, forget: Callable[[str], None]) -> None:
        self._conf, self._patience, self._forget = conf, patience, forget
        self._producer = make_producer(conf)
        self._work = threading.Event()
        self._is_closing = False
        self._fatal: KafkaError | None = None
        self._thread = threading.Thread(target=self._poll, name="antiphon-kafka-publisher", daemon=True)
        self._thread.start()

    @property
    def native(self) -> Producer:
        """The driver's own, which changes when the cluster fences it."""
        return self._producer

    async def send(self, outgoing: Sequence[Outgoing]) -> list[Refusal]:
        """Return when each is held or refused; returns the refusals. What is not held in time is refused, too."""
        batch = _Batch(len(outgoing))
        await self._produce(outgoing, batch)
        self._work.set()
        done, _ = await asyncio.wait([batch.settled], timeout=self._patience)
        if not done:
            # Nothing of it may be sent later: its sender tries it again, and would be overtaken by it.
            self._producer.purge()
            self._work.set()
            await batch.settled
            for topic in {one.topic for one in outgoing}:
                self._forget(topic)
        if not batch.failures:
            return []
        if self._fatal is not None:
            batch.failures = dict.fromkeys(batch.failures, self._fatal)
            self._begin_anew()
        return [self._refusal(outgoing[index], error) for index, error in sorted(batch.failures.items())]

    async def close(self) -> None:
        """Wait for what is on its way, for a while, and end the thread."""
        self._is_closing = True
        self._work.set()
        await asyncio.to_thread(self._thread.join, _GOODBYE)
        if self._thread.is_alive():
            self._producer.purge()
            await asyncio.to_thread(self._thread.join, _GOODBYE)

    async def _produce(self, outgoing: Sequence[Outgoing], batch: _Batch) -> None:
        stopped: set[tuple[str, str]] = set()
        report = batch.report
        for index, (topic, message) in enumerate(outgoing):
            key = message.key
            if stopped and key is not None and (topic, key) in stopped:
                batch.refuse(index, _HeldBackError("a message of the same key was refused before it"))
                continue
            while True:
                try:
                    self._producer.produce(
                        topic,
                        message.data,
                        key_bytes(key),
                        on_delivery=partial(report, index),
                        headers=to_record(message),
                    )
                except BufferError:
                    self._work.set()
                    await asyncio.sleep(_FULL)
                    continue
                except (KafkaException, UnicodeError, TypeError, ValueError) as error:
                    batch.refuse(index, error)
                    if key is not None:
                        stopped.add((topic, key))
                break

    def _refusal(self, outgoing: Outgoing, error: KafkaError | BaseException) -> Refusal:
        if isinstance(error, _HeldBackError):
            return Refusal(outgoing.topic, outgoing.message.id, str(error), retryable=True)
        if isinstance(error, KafkaError | KafkaException) and _code(error) in UNKNOWN_TOPIC:
            self._forget(outgoing.topic)
        return refusal_of(outgoing, error)

    def _begin_anew(self) -> None:
        """After a fatal error the driver takes nothing more; its last reports are still polled for."""
        if not self._is_closing:
            self._producer, self._fatal = make_producer(self._conf), None

    def _poll(self) -> None:
        while not self._is_closing or len(self._producer):
            producer = self._producer
            try:
                self._poll_once(producer)
            except KafkaException as error:
                # It sends nothing more: let go of what it has, so that its senders learn of it.
                self._fatal = error_of(error)
                producer.purge()

    def _poll_once(self, producer: Producer) -> None:
        if len(producer):
            producer.poll(_BUSY)
            return
        self._work.clear()
        if not len(producer) and not self._is_closing:
            self._work.wait(_IDLE)
        producer.poll(0)


class Publishers:
    """The publisher of most topics, and others for topics that take smaller batches."""

    def __init__(self, conf: Conf, patience: float, forget: Callable[[str], None], limits: Mapping[str, int]) -> None:
        self._conf, self._patience, self._forget, self._limits = conf, patience, forget, limits
        self._usual = Publisher(conf, patience, forget)
        self._smaller: dict[int, Publisher] = {}

    @property
    def native(self) -> Producer:
        """The driver's own producer of most topics."""
        return self._usual.native

    async def send(self, outgoing: Sequence[Outgoing]) -> list[Refusal]:
        """As `Publisher.send`."""
        limits = self._limits
        if not limits or not any(one.topic in limits for one in outgoing):
            return await self._usual.send(outgoing)
        parts: dict[Publisher, list[Outgoing]] = {}
        for one in outgoing:
            parts.setdefault(self._publisher(limits.get(one.topic)), []).append(one)
        answers = await asyncio.gather(*(publisher.send(part) for publisher, part in parts.items()))
        return [refusal for refusals in answers for refusal in refusals]

    async def close(self) -> None:
        """As `Publisher.close`, of all."""
        await asyncio.gather(*(publisher.close() for publisher in (self._usual, *self._smaller.values())))

    def _publisher(self, limit: int | None) -> Publisher:
        if limit is None:
            return self._usual
        if limit not in self._smaller:
            self._smaller[limit] = Publisher({**self._conf, "batch.size": limit}, self._patience, self._forget)
        return self._smaller[limit]


def refusal_of(outgoing: Outgoing, error: KafkaError | BaseException) -> Refusal:
    """Why a message is not held, and whether the same one may be later."""
    topic, message = outgoing
    if isinstance(error, UnicodeError | TypeError | ValueError):
        return Refusal(topic, message.id, f"it cannot be written: {error}")
    found = error if isinstance(error, KafkaError) else error_of(error)
    passing = found.code() in AWAY | UNKNOWN_TOPIC or found.retriable() or found.fatal()
    passing = passing and found.code() not in NO_RIGHT
    hint = ": give the user the right to write" if found.code() in NO_RIGHT else ""
    kind = OverfullRefusal if found.code() == KafkaError.MSG_SIZE_TOO_LARGE else Refusal
    return kind(topic, message.id, f"{found.str()} ({found.name()}){hint}", retryable=passing)


def _code(error: KafkaError | KafkaException) -> int:
    return (error if isinstance(error, KafkaError) else error_of(error)).code()


class OverfullRefusal(Refusal):
    """The batch in which it was is larger than its topic takes; that may be the company's fault."""

    __slots__ = ()


class _HeldBackError(Exception):
    """Nothing is wrong with this one."""
