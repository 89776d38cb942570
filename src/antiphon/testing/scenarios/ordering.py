"""Promises about order: one key in turn, different keys side by side, nothing settled before its time."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter, defaultdict

import pytest

from antiphon.brokers.ports import Broker, Delivery
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite, orders


class Overlaps:
    """Counts who is inside at once, by key and together."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most_of_a_key = 0
        self.most = 0
        self._lock = threading.Lock()

    def enter(self, key: str) -> None:
        with self._lock:
            self.inside[key] += 1
            self.most_of_a_key = max(self.most_of_a_key, self.inside[key])
            self.most = max(self.most, self.inside.total())

    def leave(self, key: str) -> None:
        with self._lock:
            self.inside[key] -= 1


class OrderScenarios(RuntimeSuite):
    """Order by key is kept, and is all that is kept in line."""

    async def test_one_key_never_overlaps_and_different_keys_do(self, broker: Broker) -> None:
        service, overlaps, seen = Service("payments"), Overlaps(), defaultdict[str, list[int]](list)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            overlaps.enter(order.order_id)
            await asyncio.sleep(0.001)
            seen[order.order_id].append(order.number)
            overlaps.leave(order.order_id)

        async with self.running(broker, service):
            await self.place(broker, *orders(100, keys=10))
            await self.settled(service)
        assert overlaps.most_of_a_key == 1
        assert overlaps.most > 1
        assert all(numbers == sorted(numbers) for numbers in seen.values())
        assert sum(map(len, seen.values())) == 100

    async def test_plain_functions_keep_the_order_of_a_key_in_their_threads(self, broker: Broker) -> None:
        service, overlaps, seen = Service("payments"), Overlaps(), defaultdict[str, list[int]](list)

        @service.on(OrderPlaced)
        def take(order: OrderPlaced) -> None:
            overlaps.enter(order.order_id)
            seen[order.order_id].append(order.number)
            overlaps.leave(order.order_id)

        async with self.running(broker, service):
            await self.place(broker, *orders(200, keys=10))
            await self.settled(service)
        assert overlaps.most_of_a_key == 1
        assert all(numbers == sorted(numbers) for numbers in seen.values())

    @pytest.mark.parametrize("plain", [False, True])
    async def test_what_follows_a_failure_waits_until_it_was_tried_again(self, broker: Broker, plain: bool) -> None:
        service, seen, failed = Service("payments"), list[int](), list[int]()

        def handle(order: OrderPlaced) -> None:
            if order.number == 1 and len(failed) < 2:
                failed.append(order.number)
                raise ValueError("not yet")
            seen.append(order.number)

        async def take(order: OrderPlaced) -> None:
            handle(order)

        service.on(OrderPlaced)(handle if plain else take)
        async with self.running(broker, service):
            await self.place(broker, *orders(4, keys=1))
            await self.settled(service)
        assert seen == [0, 1, 2, 3]

    async def test_what_is_emitted_on_one_key_keeps_its_order(self, broker: Broker) -> None:
        service, witness = Service("payments"), await self.listen(broker)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> PaymentTaken:
            await asyncio.sleep(0)
            return PaymentTaken(order.order_id, order.number)

        async with self.running(broker, service):
            placed = await self.place(broker, *orders(60, keys=3))
            await self.settled(service)
        heard = await self.heard(witness, 60)
        causes = [message.id for message in placed if message.key == "order-0"]
        assert [message.causation_id for message in heard if message.key == "order-0"] == causes

    async def test_nothing_is_settled_past_what_is_unfinished(self, broker: Broker) -> None:
        """Of one partition the first is held up and the others finish: after a crash it comes again."""
        service, held, done = Service("payments"), asyncio.Event(), list[int]()

        @service.on(OrderPlaced, order=None)
        async def take(order: OrderPlaced) -> None:
            if order.number == 0:
                await held.wait()
            done.append(order.number)

        async with self.running(broker, service):
            await self.place(broker, *orders(10, keys=1))
            await self.until(lambda: len(done) == 9)
            await asyncio.sleep(0.1)
            lags = [lag for lag in await broker.lag("payments") if lag.messages]
            assert [lag.messages for lag in lags] == [10 if broker.capabilities.model == "log" else 1]
            held.set()
            await self.settled(service)
        assert sorted(done) == list(range(10))

    async def test_nothing_is_kept_of_what_is_done(self, broker: Broker) -> None:
        """However many keys there are, memory holds what is under way and no more."""
        service = Service("payments")

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            await asyncio.sleep(0)

        others = {id(each) for each in _deliveries()}
        async with self.running(broker, service):
            for start in range(0, 6_000, 2_000):
                await self.place(broker, *[OrderPlaced(f"order-{n}") for n in range(start, start + 2_000)])
                await self.settled(service)
            held = [each for each in _deliveries() if id(each) not in others]
        assert len(held) <= 1

    async def test_order_in_shared_transactions_is_that_of_arrival(self, broker: Broker) -> None:
        service = self.service()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, tx: Transaction) -> None:
            await tx.execute("insert into ledger values (?, ?)", order.order_id, order.number)

        async with self.running(broker, service):
            for start in range(0, 300, 50):
                await self.place(broker, *orders(300, keys=7)[start : start + 50])
            await self.settled(service)
        rows = await self.store(broker).fetch("select order_id, number from ledger order by rowid", row=tuple[str, int])
        for key in {order_id for order_id, _ in rows}:
            numbers = [number for order_id, number in rows if order_id == key]
            assert numbers == sorted(numbers)
        assert len(rows) == 300


def _deliveries() -> list[Delivery]:
    """All that this process holds, whoever holds them."""
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is Delivery]
