"""Promises about failures: tried again, parked whole and once, and what cannot be read never stands in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import pytest
from msgspec import structs

from antiphon.brokers.ports import (
    Broker,
    LogSubscription,
    Partition,
    QueueSubscription,
    Settlement,
    StoreLogSubscription,
    StoreQueueSubscription,
)
from antiphon.errors import ConnectionLostError, RejectError, StoreUnavailableError
from antiphon.events.message import Outgoing
from antiphon.resilience.policy import Retry
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.sabotage import Saboteur
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, PriceSet, RuntimeSuite, orders
from antiphon.testing.stage import Stage


class FailureScenarios(RuntimeSuite):
    """Handlers fail, and messages are not what they should be."""

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_a_failing_message_is_retried_then_parked_and_the_others_go_on(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        service, attempts, done = self.service(), list[int](), list[int]()
        _declare_failing(service, attempts, done, with_transaction=with_transaction)
        async with self.running(broker, service):
            placed = await self.place(broker, *orders(5))
            await self.settled(service)
        assert attempts == [2, 2, 2, 2]
        assert set(done) == {0, 1, 3, 4}
        (letter,) = await self.parked(broker)
        assert letter.message == placed[2]
        assert (letter.service, letter.group, letter.topic, letter.reason) == (
            "payments",
            "payments",
            "orders",
            "ValueError",
        )
        assert [attempt.text for attempt in letter.attempts] == ["number 2 fails"] * 4
        assert all("in handle" in attempt.traceback for attempt in letter.attempts)

    async def test_a_rejected_message_is_parked_at_once(self, broker: Broker) -> None:
        service, attempts = Service("payments"), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            attempts.append(order.number)
            raise RejectError("never")

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        assert len(attempts) == 1
        (letter,) = await self.parked(broker)
        assert letter.reason == "RejectError"

    async def test_the_policy_of_a_handler_counts_more_than_that_of_its_service(self, broker: Broker) -> None:
        service, attempts = Service("payments", policy=Retry(immediate=5, delayed=0)), list[int]()

        @service.on(OrderPlaced, policy=Retry(immediate=1, delayed=0))
        async def take(order: OrderPlaced) -> None:
            attempts.append(order.number)
            raise ValueError

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        assert len(attempts) == 2
        assert len(await self.parked(broker)) == 1

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_what_cannot_be_decoded_is_parked_at_once_and_whole(
        self, broker: Broker, with_transaction: bool
    ) -> None:
        service, done = self.service(), list[int]()
        _declare_failing(service, [], done, with_transaction=with_transaction)
        placed = [self.outgoing(order).message for order in orders(len(_BROKEN))]
        bad = [structs.replace(message, **change) for message, change in zip(placed, _BROKEN, strict=True)]
        async with self.running(broker, service):
            await broker.publish([Outgoing("orders", message) for message in bad])
            await self.place(broker, OrderPlaced("order-7", 7))
            await self.settled(service)
        assert done == [7]
        letters = {letter.message.id: letter for letter in await self.parked(broker)}
        assert {id: letter.message for id, letter in letters.items()} == {message.id: message for message in bad}
        assert {letter.reason for letter in letters.values()} == {"DecodeError"}
        assert {len(letter.attempts) for letter in letters.values()} == {1}

    async def test_what_is_no_message_is_parked_at_once(self, broker: Broker) -> None:
        stage, service, done = Stage(broker, self.clock()), Service("payments"), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            done.append(order.number)

        async with self.running(stage, service):
            given = await stage.give_bytes("orders", b"rubbish", {})
            await self.place(broker, OrderPlaced("order-1", 7))
            await self.settled(service)
        assert done == [7]
        (letter,) = await self.parked(broker)
        assert (letter.reason, letter.message.data) == ("UnrecognizedMessageError", given.data)

    async def test_a_tombstone_removes_from_a_replica_and_is_parked_where_an_event_is_needed(
        self, broker: Broker
    ) -> None:
        service = Service("catalog")
        prices = service.replica(PriceSet)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            raise AssertionError("a tombstone is no event")

        async with self.running(broker, service):
            await self.place(broker, PriceSet("tea", 300), PriceSet("tea", 310), PriceSet("milk", 90))
            await self.settled(service)
            assert await prices.get(service.store, "tea") == PriceSet("tea", 310)
            gone = structs.replace(self.outgoing(PriceSet("tea", 0)).message, data=None)
            lost = structs.replace(self.outgoing(OrderPlaced("order-1")).message, data=None)
            await broker.publish([Outgoing("prices", gone), Outgoing("orders", lost)])
            await self.settled(service)
            assert await prices.get(service.store, "tea") is None
            assert await prices.count(service.store) == 1
        (letter,) = await self.parked(broker)
        assert (letter.message, letter.reason) == (lost, "DecodeError")

    @pytest.mark.parametrize("way", ["returned", "published", "in a transaction"])
    async def test_a_broker_that_is_away_for_a_while_parks_nothing(self, broker: Broker, way: str) -> None:
        stage, service = Away(broker), self.service()
        _declare_answering(service, way)
        witness = await self.listen(broker)
        async with self.running(stage, service):
            stage.is_away = True
            await self.place(broker, *orders(3, keys=1))
            await self.until(lambda: stage.refused >= 2)
            stage.is_away = False
            await self.settled(service)
        assert await self.parked(broker) == []
        assert {message.key for message in await self.heard(witness, 3)} == {"order-0"}

    @pytest.mark.parametrize("with_transaction", [False, True])
    async def test_parking_and_settling_are_one_commit(self, broker: Broker, with_transaction: bool) -> None:
        """The commit of both is undone once, in between: the message was not parked, comes again, is parked once."""
        stage, service, attempts = Interrupting(broker), self.service(), list[int]()
        _declare_failing(service, attempts, [], with_transaction=with_transaction)
        async with self.running(stage, service):
            stage.interruptions = 1
            await self.place(broker, OrderPlaced("order-1", 2))
            await self.settled(service)
        assert stage.interruptions == 0
        assert stage.parked_when_undone == 0
        assert len(await self.parked(broker)) == 1
        async with self.running(broker, service):
            await self.settled(service)
        assert len(await self.parked(broker)) == 1

    async def test_a_batch_isolates_its_bad_item(self, broker: Broker) -> None:
        service, done, sizes = self.service(), list[int](), list[int]()

        @service.on_batch(OrderPlaced, size=10, wait=timedelta(milliseconds=100))
        async def take(batch: list[OrderPlaced]) -> list[PaymentTaken]:
            sizes.append(len(batch))
            if any(order.number == 3 for order in batch):
                raise ValueError("number 3 is bad")
            done.extend(order.number for order in batch)
            return [PaymentTaken(order.order_id, order.number) for order in batch]

        witness = await self.listen(broker)
        async with self.running(broker, service):
            placed = await self.place(broker, *await self.neighbors(broker, 10))
            await self.settled(service)
        assert sorted(done) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert sizes[0] > 1
        assert sizes.count(1) >= 4
        (letter,) = await self.parked(broker)
        assert letter.message == placed[3]
        assert len(letter.attempts) == 4
        await self.heard(witness, 9)

    async def test_a_batch_isolates_what_cannot_be_decoded(self, broker: Broker) -> None:
        service, done = self.service(), list[int]()

        @service.on_batch(OrderPlaced, size=10)
        async def take(batch: list[OrderPlaced], tx: Transaction) -> None:
            done.extend(order.number for order in batch)
            await tx.execute_many("insert into ledger values (?, ?)", [(o.order_id, o.number) for o in batch])

        async with self.running(broker, service):
            *good, last = [self.outgoing(order) for order in await self.neighbors(broker, 6)]
            bad = structs.replace(last.message, data=b"{")
            await broker.publish([*good[:2], Outgoing("orders", bad), *good[2:]])
            await self.settled(service)
        assert sorted(done) == [0, 1, 2, 3, 4]
        assert len(await self.ledger(broker)) == 5
        assert [letter.message.id for letter in await self.parked(broker)] == [bad.id]


_BROKEN: Sequence[Mapping[str, object]] = (
    {"data": b"{"},
    {"data": b""},
    {"data": None},
    {"data": b'{"number": 3}'},
    {"data": b'{"order_id": 5}'},
    {"content_type": "application/x-nobody-knows"},
)


def _declare_failing(service: Service, attempts: list[int], done: list[int], *, with_transaction: bool) -> None:
    def handle(order: OrderPlaced) -> None:
        if order.number == 2:
            attempts.append(order.number)
            raise ValueError("number 2 fails")
        done.append(order.number)

    if with_transaction:

        @service.on(OrderPlaced)
        async def write(order: OrderPlaced, tx: Transaction) -> None:
            handle(order)
    else:

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            handle(order)


def _declare_answering(service: Service, way: str) -> None:
    if way == "returned":

        @service.on(OrderPlaced)
        async def answer(order: OrderPlaced) -> PaymentTaken:
            return PaymentTaken(order.order_id, order.number)
    elif way == "published":

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def publish(order: OrderPlaced, publisher: Publisher) -> None:
            await publisher.publish(PaymentTaken(order.order_id, order.number))
    else:

        @service.on(OrderPlaced)
        async def commit(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            return PaymentTaken(order.order_id, order.number)


class Away(Saboteur):
    """Cannot be reached for a while."""

    is_away = False
    refused = 0

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self._reach()
        await super().publish(outgoing)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        self._reach()
        await super().publish_in(tx, outgoing)

    def _reach(self) -> None:
        if self.is_away:
            self.refused += 1
            raise ConnectionLostError("it is away")


class Interrupting(Saboteur):
    """Makes transactions fail where they settle, so many times, after everything else was written in them."""

    interruptions = 0
    parked_when_undone = -1

    async def commit_in(
        self,
        subscription: StoreLogSubscription,
        tx: Transaction,
        watermarks: Mapping[Partition, str],
        held: Collection[Partition],
    ) -> None:
        await super().commit_in(subscription, tx, watermarks, held)
        await self._interrupt(tx)

    async def settle_in(
        self, subscription: StoreQueueSubscription, tx: Transaction, settlements: Sequence[Settlement]
    ) -> None:
        await super().settle_in(subscription, tx, settlements)
        await self._interrupt(tx)

    async def _interrupt(self, tx: Transaction) -> None:
        (inside,) = await tx.fetch("select count(*) from antiphon_set_aside", row=int)
        if self.interruptions and inside:
            self.interruptions -= 1
            (self.parked_when_undone,) = await self.database.fetch("select count(*) from antiphon_set_aside", row=int)
            raise StoreUnavailableError("the plug was pulled")

    async def commit(self, subscription: LogSubscription, watermarks: Mapping[Partition, str]) -> None:
        raise AssertionError("a watermark moved apart from what was parked")

    async def settle(self, subscription: QueueSubscription, settlements: Sequence[Settlement]) -> None:
        raise AssertionError("a message was settled apart from being parked")
