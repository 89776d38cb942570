"""Promises about transactions: many messages to a commit, each undone alone, and every effect once."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker
from antiphon.events.message import Outgoing
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.suite import (
    Address,
    OrderPlaced,
    OrderReadyToShip,
    PaymentTaken,
    RuntimeSuite,
    orders,
)

WRITE = "insert into ledger values (?, ?)"


class TransactionScenarios(RuntimeSuite):
    """For brokers that share their store with the services."""

    async def test_writes_marks_events_and_watermarks_are_few_commits(self, broker: Broker) -> None:
        service, witness = self.service(), await self.listen(broker)

        @service.on(OrderPlaced, guarantee="effectively_once")
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, order.number)
            return PaymentTaken(order.order_id, order.number)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("warm-up"))
            await self.settled(service)
            before = self.store(broker).counters.commits
            await self.place(broker, *orders(1000))
            await self.settled(service)
            commits = self.store(broker).counters.commits - before
        assert len(await self.ledger(broker)) == 1001
        await self.heard(witness, 1001)
        assert commits <= 60

    @pytest.mark.parametrize("way", ["shared", "own", "shared batch", "first"])
    async def test_what_has_the_same_business_key_is_handled_once_under_any_id(self, broker: Broker, way: str) -> None:
        service, handled = self.service(), list[int]()

        if way == "first":

            @service.on(OrderPlaced, once_by="number", settle="first")
            async def ring(order: OrderPlaced) -> None:
                handled.append(order.number)

        elif way == "shared batch":

            @service.on_batch(OrderPlaced, once_by="number")
            async def take_all(orders: list[OrderPlaced], tx: Transaction) -> None:
                handled.extend(order.number for order in orders)

        else:

            @service.on(OrderPlaced, once_by="number", transaction="own" if way == "own" else "shared")
            async def take(order: OrderPlaced, tx: Transaction) -> None:
                await tx.execute(WRITE, order.order_id, order.number)
                handled.append(order.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(4), *orders(4))
            await self.settled(service)
            await self.place(broker, *orders(5))
            await self.settled(service)
        assert sorted(handled) == [0, 1, 2, 3, 4]

    async def test_a_failed_handler_is_undone_alone(self, broker: Broker) -> None:
        service, witness, attempts = self.service(), await self.listen(broker), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            attempts.append(order.number)
            await tx.execute(WRITE, order.order_id, order.number)
            if order.number == 2 or (order.number == 3 and attempts.count(3) == 1):
                raise ValueError("after its write")
            return PaymentTaken(order.order_id, order.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(5))
            await self.settled(service)
        assert sorted(await self.ledger(broker)) == ["order-0", "order-1", "order-3", "order-4"]
        assert attempts.count(3) == 2
        assert {message.key for message in await self.heard(witness, 4)} == {"order-0", "order-1", "order-3", "order-4"}

    @pytest.mark.parametrize("own", [False, True])
    async def test_one_message_many_times_takes_effect_once(self, broker: Broker, own: bool) -> None:
        service, witness = self.service(), await self.listen(broker)

        @service.on(OrderPlaced, transaction="own" if own else "shared")
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, order.number)
            return PaymentTaken(order.order_id, order.number)

        async with self.running(broker, service):
            twin = self.outgoing(OrderPlaced("order-1"))
            await broker.publish([twin, self.outgoing(OrderPlaced("order-1")), twin])
            await self.settled(service)
            await broker.publish([twin])
            await self.settled(service)
        assert await self.ledger(broker) == ["order-1"] * 2
        await self.heard(witness, 2)

    @pytest.mark.parametrize("own", [False, True])
    async def test_messages_of_two_sources_may_have_the_same_id(self, broker: Broker, own: bool) -> None:
        """An id is unique in its source; both messages, and what is emitted on them, are messages of their own."""
        service, witness = self.service(), await self.listen(broker)

        @service.on(OrderPlaced, transaction="own" if own else "shared")
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, order.number)
            return PaymentTaken(order.order_id, order.number)

        one, other = (self.outgoing(OrderPlaced(f"order-{number}")).message for number in range(2))
        one, other = structs.replace(one, id="1", source="shop"), structs.replace(other, id="1", source="market")
        async with self.running(broker, service):
            await broker.publish([Outgoing("orders", message) for message in (one, other, one, other)])
            await self.settled(service)
        assert sorted(await self.ledger(broker)) == ["order-0", "order-1"]
        assert len({message.id for message in await self.heard(witness, 2)}) == 2

    async def test_without_the_inbox_the_same_message_takes_effect_twice(self, broker: Broker) -> None:
        """The control of the promise above: it can fail."""
        service = self.service(inbox=False)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            await tx.execute(WRITE, order.order_id, order.number)

        async with self.running(broker, service):
            twin = self.outgoing(OrderPlaced("order-1"))
            await broker.publish([twin, twin])
            await self.settled(service)
        assert await self.ledger(broker) == ["order-1"] * 2

    async def test_a_handler_that_waits_in_a_shared_transaction_is_named_once(
        self, broker: Broker, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = self.service()

        @service.on(OrderPlaced)
        async def dawdle(order: OrderPlaced, tx: Transaction) -> None:
            await tx.execute(WRITE, order.order_id, order.number)
            await asyncio.sleep(0)

        with caplog.at_level(logging.WARNING, "antiphon.runtime"):
            async with self.running(broker, service):
                await self.place(broker, *orders(3))
                await self.settled(service)
        found = [record.getMessage() for record in caplog.records if "waits for something else" in record.getMessage()]
        assert len(found) == 1
        assert found[0].startswith("dawdle waits for something else while it holds a transaction")
        assert len(await self.ledger(broker)) == 3

    async def test_handlers_with_transactions_of_their_own_wait_side_by_side(self, broker: Broker) -> None:
        service, inside, most = self.service(), list[int](), list[int]()

        @service.on(OrderPlaced, transaction="own")
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            inside.append(order.number)
            most.append(len(inside))
            await asyncio.sleep(0.001)
            inside.remove(order.number)
            await tx.execute(WRITE, order.order_id, order.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(30))
            await self.settled(service)
        assert len(await self.ledger(broker)) == 30
        assert max(most) > 1

    async def test_own_transactions_are_undone_when_their_handler_fails(self, broker: Broker) -> None:
        service, witness, attempts = self.service(), await self.listen(broker), list[int]()

        @service.on(OrderPlaced, transaction="own")
        async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            await tx.execute(WRITE, order.order_id, order.number)
            attempts.append(order.number)
            await asyncio.sleep(0)
            if order.number == 1 or (order.number == 0 and attempts.count(0) == 1):
                raise ValueError("after its write")
            return PaymentTaken(order.order_id, order.number)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0", 0), OrderPlaced("order-0", 1), OrderPlaced("order-2", 2))
            await self.settled(service)
        assert [number for number in attempts if number != 2] == [0, 0, 1, 1, 1, 1]
        assert attempts.count(2) == 1
        assert sorted(await self.ledger(broker)) == ["order-0", "order-2"]
        assert len(await self.parked(broker)) == 1
        await self.heard(witness, 2)

    async def test_a_handler_cannot_hide_that_its_message_was_handled_before(self, broker: Broker) -> None:
        service = self.service()

        @service.on(OrderPlaced, transaction="own")
        async def stubborn(order: OrderPlaced, tx: Transaction) -> None:
            try:
                await tx.fetch("select 1")
            except Exception as error:  # noqa: BLE001 - that is what is tried here
                logging.getLogger(__name__).info("goes on whatever happens: %s", error)
            await tx.execute(WRITE, order.order_id, order.number)

        async with self.running(broker, service):
            twin = self.outgoing(OrderPlaced("order-1"))
            await broker.publish([twin, twin])
            await self.settled(service)
        assert await self.ledger(broker) == ["order-1"]

    async def test_details_are_fetched_before_the_transaction_begins(self, broker: Broker) -> None:
        service, fetching, others = self.service(), asyncio.Event(), list[str]()

        @service.fetches(OrderReadyToShip)
        async def address(note: OrderReadyToShip) -> Address:
            async with self.store(broker).transaction() as tx:
                await tx.execute(WRITE, "by the fetcher", 0)
            fetching.set()
            return Address(f"street of {note.order_id}")

        @service.on(OrderReadyToShip)
        async def ship(note: OrderReadyToShip, address: Address, tx: Transaction) -> None:
            others.append(address.street)
            await tx.execute(WRITE, note.order_id, 1)

        async with self.running(broker, service):
            await self.place(broker, OrderReadyToShip("order-1"))
            await self.settled(service)
        assert await self.ledger(broker) == ["by the fetcher", "order-1"]
        assert others == ["street of order-1"]

    async def test_details_are_fetched_once_however_many_transactions_it_takes(self, broker: Broker) -> None:
        service, asked = self.service(), list[str]()

        @service.fetches(OrderReadyToShip)
        async def address(note: OrderReadyToShip) -> Address:
            asked.append(note.order_id)
            return Address(f"street of {note.order_id}")

        @service.on(OrderReadyToShip)
        async def ship(note: OrderReadyToShip, address: Address, tx: Transaction) -> None:
            assert address.street == f"street of {note.order_id}"
            await tx.execute(WRITE, note.order_id, 0)
            time.sleep(0.03)  # noqa: ASYNC251 - longer than a transaction may take, so that each gets its own

        async with self.running(broker, service):
            await self.place(broker, *[OrderReadyToShip(f"order-{n}") for n in range(5)])
            await self.settled(service)
        assert sorted(asked) == sorted(await self.ledger(broker)) == [f"order-{n}" for n in range(5)]

    async def test_a_fetcher_that_fails_is_tried_again_then_parks_its_message(self, broker: Broker) -> None:
        service, asked, shipped = self.service(), list[str](), list[str]()

        @service.fetches(OrderReadyToShip)
        async def address(note: OrderReadyToShip) -> Address:
            asked.append(note.order_id)
            if note.order_id == "order-1" or len(asked) == 1:
                raise ConnectionRefusedError("no address book")
            return Address("street")

        @service.on(OrderReadyToShip)
        async def ship(note: OrderReadyToShip, address: Address, tx: Transaction) -> None:
            shipped.append(note.order_id)

        async with self.running(broker, service):
            await self.place(broker, OrderReadyToShip("order-0"))
            await self.settled(service)
            await self.place(broker, OrderReadyToShip("order-1"))
            await self.settled(service)
        assert asked == ["order-0"] * 2 + ["order-1"] * 4
        assert shipped == ["order-0"]
        (letter,) = await self.parked(broker)
        assert [attempt.error for attempt in letter.attempts] == ["ConnectionRefusedError"] * 4

    async def test_a_batch_in_a_transaction_isolates_its_bad_item(self, broker: Broker) -> None:
        service, sizes = self.service(), list[int]()

        @service.on_batch(OrderPlaced, size=10)
        async def take(batch: list[OrderPlaced], tx: Transaction) -> None:
            sizes.append(len(batch))
            await tx.execute_many(WRITE, [(order.order_id, order.number) for order in batch])
            if any(order.number == 3 for order in batch):
                raise ValueError("number 3 is bad")

        async with self.running(broker, service):
            await self.place(broker, *await self.neighbors(broker, 10))
            await self.settled(service)
        rows = await self.store(broker).fetch("select number from ledger order by rowid", row=int)
        assert sorted(rows) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert sizes[0] == 10
        assert len(await self.parked(broker)) == 1
