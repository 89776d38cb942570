"""Promises about commits that fail: only what cannot commit is parked, everything else is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from antiphon.brokers.ports import Broker, SubscribeOptions, Subscription
from antiphon.errors import PublishError, Refusal, StoreFullError
from antiphon.events.message import Outgoing
from antiphon.storage.database import Transaction
from antiphon.testing.sabotage import SabotagedLog, SabotagedQueue, Saboteur
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, PriceSet, RuntimeSuite, orders

WRITE = "insert into ledger values (?, ?)"


class CommitScenarios(RuntimeSuite):
    """For brokers that share their store with the services."""

    @pytest.mark.parametrize("own", [False, True])
    async def test_a_commit_that_fails_costs_only_the_message_that_cannot_commit(
        self, broker: Broker, own: bool
    ) -> None:
        service = self.service()

        @service.on(OrderPlaced, transaction="own" if own else "shared")
        async def book(order: OrderPlaced, tx: Transaction) -> None:
            await tx.execute(WRITE, order.order_id, order.number)
            if order.number == 7:
                await tx.execute("insert into bookings values ('nobody')")

        async with self.running(broker, service):
            await self.place(broker, *orders(20))
            await self.settled(service)
        assert sorted(await self.ledger(broker)) == sorted(o.order_id for o in orders(20) if o.number != 7)
        (letter,) = await self.parked(broker)
        assert letter.message.key == "order-7"
        assert letter.reason == "ConstraintError"

    async def test_what_the_broker_refuses_costs_only_its_own_message(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)
        stage = Refusing(broker)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, order.number)
            return PaymentTaken(order.order_id, order.number)

        async with self.running(stage, service):
            await self.place(broker, *orders(10))
            await self.settled(service)
        assert sorted(await self.ledger(broker)) == sorted(o.order_id for o in orders(10) if o.number != 4)
        assert [letter.message.key for letter in await self.parked(broker)] == ["order-4"]
        await self.heard(witness, 9)

    async def test_a_full_disk_is_waited_for_and_nothing_is_parked(self, broker: Broker) -> None:
        service, stage = self.service(), Full(broker)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, order.number)
            return PaymentTaken(order.order_id, order.number)

        async with self.running(stage, service):
            stage.is_full = True
            await self.place(broker, *orders(10))
            await self.until(lambda: stage.refused >= 2)
            assert await self.ledger(broker) == []
            stage.is_full = False
            await self.settled(service)
        assert len(await self.ledger(broker)) == 10
        assert await self.parked(broker) == []

    @pytest.mark.parametrize("own", [False, True])
    async def test_who_lost_its_partition_is_undone_and_the_new_owner_repeats(self, broker: Broker, own: bool) -> None:
        """In the middle of a transaction everything is taken from its service, as when its process hung."""
        stage, service, numbers = Watched(broker), self.service(), count()

        @service.on(OrderPlaced, transaction="own" if own else "shared")
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, next(numbers))
            if stage.subscriptions:
                subscription = stage.subscriptions.pop()
                evictions.append(asyncio.create_task(self.evict(broker, subscription)))
            return PaymentTaken(order.order_id, order.number)

        evictions: list[asyncio.Task[None]] = []
        witness = await self.listen(broker)
        async with self.running(stage, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: evictions)
            await asyncio.gather(*evictions)
            await self.settled(service)
        assert await self.ledger(broker) == ["order-1"]
        await self.heard(witness, 1)

    async def test_what_is_not_committed_is_not_settled_by_what_finishes_beside_it(self, broker: Broker) -> None:
        """A handler without a transaction finishes while a commit is under way that fails."""
        service, gate, unsettled = self.service(), asyncio.Event(), list[int]()

        @service.on(PriceSet)
        async def wait(price: PriceSet) -> None:
            async with asyncio.timeout(1):  # should both keys share a lane
                await gate.wait()

        @service.on(OrderPlaced)
        async def book(order: OrderPlaced, tx: Transaction) -> None:
            unsettled.append(
                sum(lag.messages for lag in await broker.lag("payments") if lag.partition.topic == "orders")
            )
            await tx.execute("insert into bookings values ('nobody')")
            gate.set()

        async with self.running(broker, service):
            await self.place(broker, PriceSet("tea", 1))
            await asyncio.sleep(0.05)
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        assert unsettled == [1] * len(unsettled)
        assert len(await self.parked(broker)) == 1


class Refusing(Saboteur):
    """Refuses what is emitted on the fourth order."""

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        bad = [Refusal(topic, m.id, "too large") for topic, m in outgoing if m.key == "order-4"]
        if bad:
            raise PublishError(bad)
        await super().publish_in(tx, outgoing)


class Full(Saboteur):
    """Has no room for a while."""

    is_full = False
    refused = 0

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        if self.is_full:
            self.refused += 1
            raise StoreFullError("no room")
        await super().publish_in(tx, outgoing)


class Watched(Saboteur):
    """Knows its subscriptions, so that a test can take everything from them."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.subscriptions: list[Subscription] = []

    async def subscribe(
        self, group: str, topics: Sequence[str], options: SubscribeOptions = SubscribeOptions()
    ) -> Subscription:
        subscription = await super().subscribe(group, topics, options)
        assert isinstance(subscription, SabotagedLog | SabotagedQueue)
        self.subscriptions.append(subscription.inner)
        return subscription
