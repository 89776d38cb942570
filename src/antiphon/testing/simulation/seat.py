"""What one process holds, and what it can reach: nothing any more once it died."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from antiphon.brokers.memory import MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import Delivery
from antiphon.errors import ConnectionLostError, StoreUnavailableError
from antiphon.runtime.running import HOLD
from antiphon.testing.simulation.gates import StoppedTopics
from antiphon.testing.simulation.record import Entry
from antiphon.testing.simulation.troubles import Trouble
from antiphon.testing.simulation.world import World

_AGAIN = 0.5
"""Seconds of simulated time between two tries to take from a process what it reads."""


class Takings:
    """Who was given which message of which group last. A newer delivery makes those before it void."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, Entry], tuple[Seat, int]] = {}
        self._count = 0

    def take(self, group: str, entry: Entry, seat: Seat) -> None:
        """Note one more delivery."""
        self._count += 1
        self._last[group, entry] = seat, self._count

    @property
    def count(self) -> int:
        """How many deliveries there were."""
        return self._count

    def number(self, group: str, entry: Entry, seat: Seat) -> int | None:
        """The number of its last delivery, if that was to this process."""
        last = self._last.get((group, entry))
        return last[1] if last is not None and last[0] is seat else None


class Seat:
    """One process of a simulation, from its start to its end."""

    def __init__(self, name: str, world: World, takings: Takings) -> None:
        self.name, self.world = name, world
        self.is_dead = False
        self.stopped = StoppedTopics(world)
        self.subscriptions: dict[str, MemoryLogSubscription | MemoryQueueSubscription] = {}
        """By group."""
        self.frozen_until = 0.0
        self.lost_before = 0
        """Deliveries up to this number were taken from it."""
        self._takings = takings

    def __str__(self) -> str:
        return self.name

    def group_of(self, subscription: object) -> str:
        """Whose subscription this is."""
        return next(group for group, own in self.subscriptions.items() if own is subscription)

    def take(self, group: str, deliveries: Sequence[Delivery]) -> None:
        """Note what was handed to it."""
        self.world.record.deliver(deliveries)
        for delivery in deliveries:
            self._takings.take(group, self.world.record.of(delivery.message), self)

    def held_delivery(self, group: str, entry: Entry) -> int | None:
        """The number of the delivery by which the broker gave it this to work on; None where it is not its own now."""
        subscription, partition = self.subscriptions[group], entry.partition
        if self.is_dead or partition is None:
            return None
        if self.world.keeps_order and self.world.owner_of(group, partition) != subscription.id:
            return None
        return self._takings.number(group, entry, self)

    def held_until(self, group: str, entry: Entry) -> float | None:
        """Until when it holds what was set aside; None where it does not."""
        if self.is_dead or entry.partition is None:
            return None
        return self.world.held_until(self.name, group, entry.partition, entry.position)

    def has_lost(self, delivery: int | None, held_until: float | None) -> bool:
        """Whether it could not keep what it worked on: it died, was evicted, or could not say so in the store.

        Nobody can while a process is frozen that has the store's lock.
        """
        if held_until is not None:
            began = held_until - HOLD.total_seconds()
            return self.is_dead or any(self.world.was_on(each, began) for each in (Trouble.STORE, Trouble.FREEZE))
        return self.is_dead or delivery is None or delivery <= self.lost_before

    def evict(self) -> None:
        """Lose everything that it reads; where that takes a write in the store, once whoever writes there has ended."""
        if self.world.is_locked:
            asyncio.get_running_loop().call_later(_AGAIN, self.evict)
            return
        self.lost_before = self._takings.count
        for subscription in self.subscriptions.values():
            subscription.evict()

    async def falter(self) -> None:
        """Take some time, as calls do; forever, once it is dead."""
        await self.world.falter()
        await self.live()

    async def reach_broker(self, tried: str) -> None:
        """Return when the broker can be asked. Raises ConnectionLostError."""
        await self.falter()
        if self.world.is_on(Trouble.BROKER):
            raise ConnectionLostError(f"simulated: the broker is away, cannot {tried}")

    async def reach_store(self, tried: str) -> None:
        """Return when the store can be asked. Raises StoreUnavailableError."""
        await self.falter()
        self.require_store(tried)

    def require_store(self, tried: str) -> None:
        """Raise StoreUnavailableError while it is busy: for every other one who asks."""
        if self.world.is_on(Trouble.STORE) and self.world.random.random() < 0.5:
            raise StoreUnavailableError(f"simulated: the store is busy, cannot {tried}")

    async def live(self) -> None:
        """Return when it is not frozen; never, once it is dead."""
        if (rest := self.frozen_until - self.world.clock.monotonic()) > 0:
            await asyncio.sleep(rest)
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
