"""One member's reading of a group's queues."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.ports import Delivery, Partition, Settlement
from antiphon.brokers.rabbitmq.codec import ATTEMPTS, read
from antiphon.brokers.rabbitmq.gathering import OF_QUEUES, gather
from antiphon.brokers.rabbitmq.notes import Notes
from antiphon.brokers.rabbitmq.reader import Entry, Reader
from antiphon.errors import BrokerError, ClosedError, ConnectionLostError
from antiphon.events.clock import Clock

Copy = Callable[[Sequence[Settlement]], Awaitable[None]]
"""Writes what is rejected, or comes again later, where it is kept meanwhile; returns when the server holds it."""


class RabbitSubscription:
    """Takes messages of the partitions that this member reads. `readers` are those; its membership changes them."""

    def __init__(self, name: str, hold: timedelta, notes: Notes, copy: Copy, clock: Clock) -> None:
        self.name = name
        self.readers: dict[Partition, Reader] = {}
        self.notes = notes
        self.failure: BrokerError | None = None
        """Why nothing can be read any more."""
        self.on_activity: Callable[[], None] = lambda: None
        """Called when it may be that somebody has to look: a fetch after none, or nothing in hand of a reader."""
        self.leave: Callable[[], Awaitable[None]]
        self._hold = hold
        self._copy, self._clock = copy, clock
        self._bell = asyncio.Event()
        self._paused: set[str] = set()
        self._turns: deque[Reader] = deque()
        self.takes_part = False
        """Whether it is fetched from: not before the first time, nor after something was held for too long."""
        self.is_closed = False

    @property
    def hold(self) -> timedelta:
        return self._hold

    def ring(self) -> None:
        """There may be something to fetch."""
        self._bell.set()

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        self._require_open("fetch")
        await asyncio.sleep(0)  # so that a reader that never has to wait lets others run
        self._be_active()
        deadline = self._clock.monotonic() + wait.total_seconds()
        while not self.is_closed:
            if self.failure is not None:
                raise self.failure
            self._bell.clear()
            await self._be_sure()
            await gather(self._count, limit, OF_QUEUES)
            if taken := self._take(limit, max_bytes):
                return taken
            left = deadline - self._clock.monotonic()
            if left <= 0:
                self._require_readers()
                return []
            await self._wait(left)
        return []

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        self._require_open("settle")
        held = [(s, entry) for s in settlements if (entry := self._held(s.delivery)) is not None]
        away = [settlement for settlement, _ in held if settlement.outcome.kind == "reject" or settlement.outcome.delay]
        await self._copy([settlement for settlement in away if settlement.delivery.problem is None])
        by_reader: dict[Reader, list[Entry]] = {}
        for settlement, entry in held:
            delivery, outcome = settlement
            if self._held(delivery) is None:
                continue
            if outcome.kind == "again" and not outcome.delay:
                entry.reader.put_back([entry], counted=outcome.counted)
            elif outcome.kind == "reject" and delivery.problem is not None:
                await entry.reader.drop(entry)
            else:
                by_reader.setdefault(entry.reader, []).append(entry)
        results = await asyncio.gather(
            *(reader.acknowledge(entries) for reader, entries in by_reader.items()), return_exceptions=True
        )
        if any(entry.reader.is_leaving for _, entry in held):
            self.on_activity()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        self._require_open("extend")
        until = self._clock.monotonic() + self._hold.total_seconds()
        for delivery in deliveries:
            entry = delivery.handle
            if isinstance(entry, Entry) and entry.delivery is delivery:
                entry.until = until

    def pause_topic(self, topic: str) -> None:
        self._paused.add(topic)

    def resume_topic(self, topic: str) -> None:
        self._paused.discard(topic)
        self.ring()

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.ring()
            await self.leave()

    def add(self, reader: Reader) -> None:
        self.readers[reader.partition] = reader
        self._turns.append(reader)

    def remove(self, reader: Reader) -> None:
        if self.readers.get(reader.partition) is reader:
            del self.readers[reader.partition]
            self._turns.remove(reader)

    def expire(self) -> None:
        """End every hold now, as when the process stalls for too long."""
        for reader in self.readers.values():
            for entry in reader.in_hand():
                entry.until = 0.0

    def _be_active(self) -> None:
        if not self.takes_part:
            self.takes_part = True
            self.on_activity()

    async def _be_sure(self) -> None:
        """Learn, before they are handed out, how often those were attempted that were delivered before."""
        unsure = [reader for reader in self._turns if reader.is_unsure]
        if unsure:
            await self.notes.look()
            for reader in unsure:
                reader.is_unsure = False

    def _count(self) -> int:
        return sum([len(reader.ready) for reader in self._turns])

    def _take(self, limit: int, max_bytes: int) -> list[Delivery]:
        taken: list[Delivery] = []
        until = self._clock.monotonic() + self._hold.total_seconds()
        self._turns.rotate(-1)
        for reader in self._turns:
            ready = reader.ready
            if not ready or reader.is_leaving or reader.is_unsure or reader.partition.topic in self._paused:
                continue
            while ready and len(taken) < limit:
                size = len(ready[0].received.body)
                if taken and size > max_bytes:
                    return taken
                max_bytes -= size
                taken.append(self._hand_out(ready.popleft(), until))
        return taken

    def _hand_out(self, entry: Entry, until: float) -> Delivery:
        _, headers, body, content_type, _, at = entry.received
        message, problem = read(headers, body, content_type, entry.position, at)
        attempt = 1
        if len(headers) and (entry.more or "x-delivery-count" in headers or ATTEMPTS in headers):
            attempt += entry.more + self.notes.attempts(entry.position, entry.deliveries) + _before(headers)
        entry.until = until
        entry.delivery = delivery = Delivery(entry.reader.partition, entry.position, message, attempt, entry, problem)
        return delivery

    def _held(self, delivery: Delivery) -> Entry | None:
        entry = delivery.handle
        if isinstance(entry, Entry) and entry.delivery is delivery and entry.reader.holds(entry):
            return entry
        return None

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass

    def _require_readers(self) -> None:
        lost = next((reader for reader in self._turns if reader.is_lost), None)
        if lost is not None:
            raise ConnectionLostError(f"{self.name} cannot read {lost.queue!r} at the moment; it tries again by itself")

    def _require_open(self, tried: str) -> None:
        if self.is_closed:
            raise ClosedError(f"subscription {self.name}", tried)


def _before(headers: Mapping[str, object]) -> int:
    """Attempts at it before it was written anew."""
    count = headers.get(ATTEMPTS)
    return count if isinstance(count, int) else 0
