"""Promises about commits that fail: only what cannot commit is parked, everything else is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from antiphon.brokers.ports import Broker, SubscribeOptions, Subscription
from antiphon.brokers.screening import screen
from antiphon.errors import PublishError, Refusal, StoreFullError
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.sabotage import SabotagedLog, SabotagedQueue, Saboteur
from antiphon.testing.scenarios.suite import (
    Address,
    OrderPlaced,
    OrderReadyToShip,
    PaymentTaken,
    PriceSet,
    RuntimeSuite,
    in_order,
    orders,
)

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

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_what_follows_a_refused_message_of_its_key_is_sent_all_the_same(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        """It was only held back; nothing is wrong with it, nor with the message of another key that it answers."""
        service, stage, witness = self.service(), Strict(broker), await self.listen(broker)
        _answer(service, with_transaction=with_transaction)
        async with self.running(stage, service):
            many = await self.neighbors(broker, 5) if with_transaction else orders(5, keys=1)
            await self.place(broker, *many)
            await self.settled(service)
        assert len(await self.parked(broker)) == 1
        heard = [_number(message) for message in await self.heard(witness, 4)]
        assert in_order(broker, heard) == [0, 1, 3, 4]

    async def test_what_follows_a_message_whose_answer_is_refused_waits_behind_it(self, broker: Broker) -> None:
        service, stage, witness = self.service(), Strict(broker), await self.listen(broker)
        _answer(service, with_transaction=True)
        async with self.running(stage, service):
            await self.place(broker, *orders(5, keys=1))
            await self.settled(service)
        (letter,) = await self.parked(broker)
        behind = 2 if broker.capabilities.key_order else 0
        assert await self.behind(broker, letter) == behind
        heard = [_number(message) for message in await self.heard(witness, 4 - behind)]
        assert sorted(heard) == ([0, 1] if behind else [0, 1, 3, 4])

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
    async def test_who_lost_its_lease_is_undone_and_the_next_owner_repeats(self, broker: Broker, own: bool) -> None:
        """After the details were fetched and before they are used everything is taken, as when a process hangs."""
        asked, witness = list[str](), await self.listen(broker)

        def a_member(stage: Watched) -> Service:
            service = self.service(inbox=False)

            @service.fetches(OrderReadyToShip)
            async def address(note: OrderReadyToShip) -> Address:
                asked.append(note.order_id)
                if len(asked) == 1:
                    await self.evict(broker, stage.subscriptions[0])
                return Address("street")

            @service.on(OrderReadyToShip, transaction="own" if own else "shared")
            async def ship(note: OrderReadyToShip, address: Address, tx: Transaction) -> PaymentTaken:
                await tx.execute(WRITE, note.order_id, len(asked))
                return PaymentTaken(note.order_id)

            return service

        stages = Watched(broker), Watched(broker)
        one, other = map(a_member, stages)
        async with self.running(stages[0], one), self.running(stages[1], other):
            await self.place(broker, OrderReadyToShip("order-1"))
            await self.settled(one, other)
        assert asked == ["order-1"] * 2
        assert await self.ledger(broker) == ["order-1"]
        await self.heard(witness, 1)
        assert await self.parked(broker) == []

    async def test_what_is_not_committed_is_not_settled_by_what_finishes_beside_it(self, broker: Broker) -> None:
        """A handler without a transaction finishes while a commit is under way that fails."""
        service, gate, unsettled = self.service(), asyncio.Event(), list[tuple[int, int]]()
        began = asyncio.Event()

        @service.on(PriceSet)
        async def wait(price: PriceSet) -> None:
            began.set()
            await gate.wait()

        @service.on(OrderPlaced)
        async def book(order: OrderPlaced, tx: Transaction) -> None:
            lags = await broker.lag("payments")
            unsettled.append((order.number, sum(lag.messages for lag in lags if lag.partition.topic == "orders")))
            await tx.execute("insert into bookings values ('nobody')")
            gate.set()

        # A lane of its own for what waits: an order in its lane would be handled after it, alone.
        async with self.running(broker, service, lane_of=lambda key: int(key != "tea")):
            await self.place(broker, PriceSet("tea", 1))
            await self.until(began.is_set)
            await self.place(broker, *await self.neighbors(broker, 2))
            await self.settled(service)
        # Where the lag takes longer than a batch may, the second one comes after the first is parked.
        of_first = [held for number, held in unsettled if number == 0]
        assert len(of_first) > 1, "in a batch, and alone"
        assert set(of_first) == {2}
        assert unsettled[1][1] == 2
        assert len(await self.parked(broker)) == 2


def _answer(service: Service, *, with_transaction: bool) -> None:
    """Emit everything on one key."""

    async def answer(order: OrderPlaced) -> PaymentTaken:
        return PaymentTaken("order-0", order.number)

    if with_transaction:

        @service.on(OrderPlaced)
        async def write(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            return await answer(order)
    else:
        service.on(OrderPlaced)(answer)


def _number(message: Message) -> int:
    return msgspec.json.decode(message.data or b"", type=PaymentTaken).number


class Refusing(Saboteur):
    """Refuses what is emitted on the fourth order."""

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        bad = [Refusal(topic, m.id, "too large") for topic, m in outgoing if m.key == "order-4"]
        if bad:
            raise PublishError(bad)
        await super().publish_in(tx, outgoing)


class Strict(Saboteur):
    """Refuses the event with number 2, and as every broker does what follows it of its key."""

    def _screened(self, outgoing: Sequence[Outgoing]) -> tuple[list[Outgoing], list[Refusal]]:
        return screen(outgoing, lambda one: "too large" if b'"number":2' in (one.message.data or b"") else None)

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        accepted, refusals = self._screened(outgoing)
        await super().publish(accepted)
        if refusals:
            raise PublishError(refusals)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        _, refusals = self._screened(outgoing)
        if refusals:
            raise PublishError(refusals)
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
