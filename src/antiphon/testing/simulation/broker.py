"""What a simulated process sees of the broker: far away at times, and every settlement of it is checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import cast

from antiphon.brokers.memory import MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import (
    Broker,
    Delivery,
    LogSubscription,
    Partition,
    QueueSubscription,
    Settlement,
    StoreBroker,
    StoreLogSubscription,
    StoreQueueSubscription,
    SubscribeOptions,
    Subscription,
)
from antiphon.errors import ConnectionLostError
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database, Transaction
from antiphon.testing.sabotage import Saboteur
from antiphon.testing.simulation.seat import Seat
from antiphon.testing.simulation.settled import Settled
from antiphon.testing.simulation.store import SimulatedStore, SimulatedTransaction
from antiphon.testing.simulation.troubles import Trouble

_PATIENCE = timedelta(minutes=1)
"""A fetch wakes by itself when there is something: so that hours pass in few steps."""


class SimulatedBroker(Saboteur):
    """The broker of all processes, as one of them sees it."""

    def __init__(self, broker: Broker, seat: Seat, settled: Settled) -> None:
        super().__init__(broker)
        self._seat, self._world, self._settled = seat, seat.world, settled
        self._database = SimulatedStore(cast(StoreBroker, broker).database, seat)

    @property
    def database(self) -> Database:
        return self._database

    async def close(self) -> None:
        """It outlives every process."""

    async def open(self) -> None:
        await self._seat.reach_broker("open")
        await super().open()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self._seat.reach_broker("publish")
        labeled = self._world.record.label(outgoing)
        await super().publish(labeled)
        self._world.published(labeled, by=str(self._seat))
        await self._seat.falter()
        if self._world.weather.strikes(Trouble.BROKER, 0.02):
            raise ConnectionLostError("simulated: it held what was published, and could not say so")

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        labeled = self._world.record.label(outgoing)
        await super().publish_in(_inner(tx), labeled)
        tx.after_commit(partial(self._world.published, labeled, by=str(self._seat)))

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> Subscription:
        await self._seat.reach_broker("subscribe")
        subscription = await super().subscribe(group, topics, options)
        inner = getattr(subscription, "inner", None)
        assert isinstance(inner, MemoryLogSubscription | MemoryQueueSubscription), "it is in memory"
        self._seat.subscriptions[group] = inner
        return subscription

    async def fetch(
        self, subscription: Subscription, limit: int, max_bytes: int, wait: timedelta
    ) -> Sequence[Delivery]:
        await self._seat.reach_broker("fetch")
        few = self._world.random.choice((1, 3, limit))
        deliveries = await super().fetch(subscription, min(few, limit), max_bytes, max(wait, _PATIENCE))
        # Nothing waits between here and whoever asked: what is handed out and never arrives would be lost.
        self._seat.take(self._seat.group_of(subscription), deliveries)
        return deliveries

    async def commit(self, subscription: LogSubscription, watermarks: Mapping[Partition, str]) -> None:
        await self._seat.reach_broker("commit")
        self._settled.check_watermarks(self._seat.group_of(subscription), watermarks)
        await super().commit(subscription, watermarks)
        await self._seat.falter()

    async def commit_in(
        self,
        subscription: StoreLogSubscription,
        tx: Transaction,
        watermarks: Mapping[Partition, str],
        held: Collection[Partition],
    ) -> None:
        await super().commit_in(subscription, _inner(tx), watermarks, held)
        group = self._seat.group_of(subscription)
        _own(tx).check_then(partial(self._settled.check_watermarks, group, dict(watermarks)))

    async def settle(self, subscription: QueueSubscription, settlements: Sequence[Settlement]) -> None:
        await self._seat.reach_broker("settle")
        self._settled.check_settlements(self._seat.group_of(subscription), settlements)
        await super().settle(subscription, settlements)
        await self._seat.falter()

    async def settle_in(
        self, subscription: StoreQueueSubscription, tx: Transaction, settlements: Sequence[Settlement]
    ) -> None:
        await super().settle_in(subscription, _inner(tx), settlements)
        group = self._seat.group_of(subscription)
        _own(tx).check_then(partial(self._settled.check_settlements, group, list(settlements)))


def _own(tx: Transaction) -> SimulatedTransaction:
    assert isinstance(tx, SimulatedTransaction), "it was begun on the simulated store"
    return tx


def _inner(tx: Transaction) -> Transaction:
    return _own(tx).inner
