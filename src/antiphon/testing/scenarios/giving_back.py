"""Promises about what is in hand at the end: others get it at once, uncounted, also what is tried again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Delivery
from antiphon.resilience import Retry
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, in_order, orders
from antiphon.testing.scenarios.ways import FIRST, WRITE, FailureSuite, keeps_order

SHORT = timedelta(milliseconds=50)
TWICE = Retry(immediate=0, delayed=2, first_delay=FIRST, jitter=False)


class Hanging:
    """Work that fails at first, hangs at the second attempt, and then goes on as it is told."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.attempts: list[int] = []
        self.fails_again = True

    async def __call__(self, delivery: Delivery) -> None:
        self.attempts.append(delivery.attempt)
        if len(self.attempts) == 2:
            await self.held.wait()
        if len(self.attempts) == 1 or self.fails_again:
            raise ConnectionError("not yet")


class GivingBackScenarios(FailureSuite):
    """A service is stopped while messages are tried again, or wait for their turn."""

    @pytest.mark.parametrize("mode", ["none", "shared", "own"])
    async def test_a_retry_that_outlasts_the_drain_is_given_back_and_counts_as_no_attempt(
        self, broker: Broker, mode: str
    ) -> None:
        service, work = self.paying(TWICE), Hanging()
        _declare(service, mode, work)
        async with self.running(broker, service, drain=SHORT):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: len(work.attempts) == 2)
        assert await self.parked(broker) == []
        assert await self.numbers(broker) == []
        async with self.running(broker, service):
            await self.until(lambda: self.parked(broker))
        assert work.attempts == [1, 2, 2, 3]
        assert [len(letter.attempts) for letter in await self.parked(broker)] == [3]

    @pytest.mark.parametrize("mode", ["none", "own"])
    async def test_what_is_tried_again_here_goes_to_another_member_at_once(self, broker: Broker, mode: str) -> None:
        """And with it what waits behind it: not after the time for which a process that hangs keeps it."""
        one, other, work, done = self.paying(TWICE), self.paying(TWICE), Hanging(), list[int]()
        _declare(one, mode, work, writes_first=False)

        @other.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            done.append(order.number)

        async with self.running(broker, one, drain=SHORT):
            await self.place(broker, *orders(5, keys=1))
            await self.until(lambda: len(work.attempts) >= 2)
            async with self.running(broker, other):
                await one.stop()
                await self.until(lambda: 0 in done)
                await self.settled(other)
        assert not keeps_order(broker) or done == [0, 1, 2, 3, 4]
        assert await self.aside(broker) == {}

    async def test_what_was_fetched_and_not_begun_goes_to_another_member_at_once(self, broker: Broker) -> None:
        held, begun, attempts, done = asyncio.Event(), list[int](), list[int](), list[int]()
        one, other = Service("payments"), Service("payments")

        @one.on(OrderPlaced)
        async def hang(order: OrderPlaced) -> None:
            begun.append(order.number)
            await held.wait()

        @other.on(OrderPlaced)
        async def take(order: OrderPlaced, delivery: Delivery) -> None:
            attempts.append(delivery.attempt)
            done.append(order.number)

        async with self.running(broker, one, drain=SHORT):
            await self.place(broker, *orders(200, keys=1))
            await self.until(lambda: begun)
            async with self.running(broker, other):
                await one.stop()
                await self.settled(other)
        assert begun == [0]
        assert in_order(broker, done) == list(range(200))
        assert set(attempts) == {1}
        assert await self.aside(broker) == {}

    async def test_what_a_retry_publishes_during_the_drain_is_held_before_it_is_settled(self, broker: Broker) -> None:
        service, work, witness = self.paying(TWICE), Hanging(), await self.listen(broker)
        work.fails_again = False

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def take(order: OrderPlaced, delivery: Delivery, publisher: Publisher) -> PaymentTaken:
            await work(delivery)
            await publisher.publish(PaymentTaken(order.order_id, 1))
            return PaymentTaken(order.order_id, 2)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.until(lambda: len(work.attempts) == 2)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.01)
            work.held.set()
            await stopping
        await self.heard(witness, 2)
        async with self.running(broker, service):
            await self.settled(service)
        assert work.attempts == [1, 2]
        assert await self.aside(broker) == {}

    @pytest.mark.parametrize("mode", ["none", "shared", "own"])
    async def test_what_fails_during_the_drain_is_tried_again_after_it(self, broker: Broker, mode: str) -> None:
        """It is neither lost nor done, whether or not the attempt counts."""
        service, work = self.paying(TWICE), Hanging()
        _declare(service, mode, work)
        async with self.running(broker, service):
            await self.place(broker, *orders(3, keys=1))
            await self.until(lambda: len(work.attempts) >= 2)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.01)
            work.held.set()
            await stopping
        work.fails_again = False
        assert await self.parked(broker) == []
        async with self.running(broker, service):
            await self.until(lambda: self._is_done(broker))
            await self.settled(service)
        assert sorted(await self.numbers(broker)) == ([] if mode == "none" else [0, 1, 2])
        assert await self.parked(broker) == []

    async def _is_done(self, broker: Broker) -> bool:
        """Whether nothing is left to be handled."""
        return await self.is_read(broker) and not await self.aside(broker)


def _declare(service: Service, mode: str, work: Hanging, *, writes_first: bool = True) -> None:
    if mode == "none":

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, delivery: Delivery) -> None:
            await work(delivery)
    else:

        @service.on(OrderPlaced, transaction="own" if mode == "own" else "shared")
        async def write(order: OrderPlaced, delivery: Delivery, tx: Transaction) -> None:
            if writes_first:  # and thereby keeps others of its file waiting
                await tx.execute(WRITE, order.order_id, order.number)
            await work(delivery)
