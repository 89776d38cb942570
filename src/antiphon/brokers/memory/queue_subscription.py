"""One member's reading of a queue in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.memory.bell import Bell, left
from antiphon.brokers.memory.joining import require_own
from antiphon.brokers.memory.queue_group import QueueGroup
from antiphon.brokers.ports import Delivery, Settlement
from antiphon.errors import ClosedError, LeaseLostError, UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.storage.database import Database, Transaction


class MemoryQueueSubscription:
    """Takes messages that nobody else holds. Offers `settle_in`, too."""

    def __init__(
        self,
        id: str,
        group: QueueGroup,
        topics: Sequence[str],
        capabilities: Capabilities,
        clock: Clock,
        database: Database,
    ) -> None:
        self.id = id
        self.bell = Bell(clock)
        self._topics = deque(dict.fromkeys(topics))
        self._group = group
        self._capabilities = capabilities
        self._clock = clock
        self._database = database
        self._paused: set[str] = set()
        self._closed = False

    @property
    def hold(self) -> timedelta:
        return self._group.hold

    @property
    def topics(self) -> Collection[str]:
        """What it reads now; the first has its turn first."""
        return [topic for topic in self._topics if topic not in self._paused] if self._paused else self._topics

    @property
    def subscribed(self) -> Collection[str]:
        """What it reads now, or will when it goes on."""
        return self._topics

    async def fetch(self, limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        self._require_open("fetch")
        await asyncio.sleep(0)  # so that a reader that never has to wait lets others run
        deadline = self._clock.monotonic() + wait.total_seconds()
        while not self._closed:
            self.bell.clear()
            self._topics.rotate()
            if taken := self._group.take(self, limit, max_bytes):
                return taken
            if not left(self._clock, deadline):
                break
            await self.bell.wait(left(self._clock, min(deadline, self._group.next_change())))
        return []

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        self._require_open("settle")
        self._require_capable(settlements)
        for delivery, outcome in settlements:
            if self._group.holds(delivery):
                self._group.settle(delivery, outcome)

    async def settle_in(self, tx: Transaction, settlements: Sequence[Settlement]) -> None:
        """As the port says. Each hold is extended, so that it does not expire while `tx` commits."""
        self._require_open("settle")
        self._require_capable(settlements)
        require_own(tx, self._database)
        lost = [delivery for delivery, _ in settlements if not self._group.holds(delivery)]
        if lost:
            names = ", ".join(delivery.message.id for delivery in lost)
            raise LeaseLostError(
                f"{self.id} of group {self._group.name!r} does not hold {names} any more: "
                "roll back, whoever holds them now repeats the work"
            )
        for delivery, outcome in settlements:
            self._group.extend(delivery)
            tx.after_commit(partial(self._group.settle, delivery, outcome))

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        self._require_open("extend")
        for delivery in deliveries:
            self._group.extend(delivery)

    def pause_topic(self, topic: str) -> None:
        self._paused.add(topic)

    def resume_topic(self, topic: str) -> None:
        self._paused.discard(topic)
        self.bell.ring()

    def evict(self) -> None:
        """End every hold now, as when the process stalls for too long. Twice is safe."""
        self._group.expire(self)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._group.leave(self)
            self.bell.ring()

    def _require_capable(self, settlements: Sequence[Settlement]) -> None:
        """Refuse before anything is settled."""
        able = self._capabilities
        for _, outcome in settlements:
            if outcome.delay and not able.native_delay:
                raise UnsupportedCapabilityError(
                    "this memory broker", "native_delay", "settle it again without a delay"
                )
            if outcome.kind == "reject" and not able.native_dead_letters:
                raise UnsupportedCapabilityError(
                    "this memory broker", "native_dead_letters", "keep the message elsewhere and settle it as done"
                )

    def _require_open(self, tried: str) -> None:
        if self._closed:
            raise ClosedError(f"subscription {self.id} of group {self._group.name!r}", tried)
