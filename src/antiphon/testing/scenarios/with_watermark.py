"""Promises about what leaves in the broker's transaction that moves the watermark: once, whatever happens."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker
from antiphon.errors import GuaranteeError
from antiphon.resilience import AT_ONCE, Retry
from antiphon.runtime.service import Service
from antiphon.testing.scenarios.committing import Watched
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite, orders


class WithWatermarkScenarios(RuntimeSuite):
    """A handler without a store is effectively once where the broker has transactions; elsewhere it is refused."""

    def paying_once(self, policy: Retry = AT_ONCE) -> Service:
        """A service that answers each order with a payment, once."""
        service = self.service()

        @service.on(OrderPlaced, guarantee="effectively_once", policy=policy)
        async def take(order: OrderPlaced) -> PaymentTaken:
            await self.on_order(order)
            return PaymentTaken(order.order_id, order.number)

        return service

    async def on_order(self, order: OrderPlaced) -> None:
        """What happens while an order is handled; a test may replace it."""

    async def test_it_is_refused_where_the_broker_has_no_transactions(self, broker: Broker) -> None:
        if broker.capabilities.transactions:
            return
        with pytest.raises(GuaranteeError, match="take demands effectively_once but would get at_least_once"):
            await self.paying_once().start(broker, store=self.beside(broker))

    async def test_what_it_returns_leaves_once(self, broker: Broker) -> None:
        if not broker.capabilities.transactions:
            return
        service, witness = self.paying_once(), await self.listen(broker)
        async with self.running(broker, service):
            placed = await self.place(broker, *orders(200, keys=20))
            await self.settled(service)
            await self.place(broker, *orders(5))
            await self.settled(service)
        heard = await self.heard(witness, 205)
        assert len({message.id for message in heard}) == 205
        assert {message.causation_id for message in heard} >= {message.id for message in placed}

    async def test_what_was_handled_by_who_lost_it_leaves_once(self, broker: Broker) -> None:
        """Everything is taken from the first member while it handles the fifth order, as when its process hangs."""
        if not broker.capabilities.transactions:
            return
        stages, witness, seen = (Watched(broker), Watched(broker)), await self.listen(broker), list[int]()
        is_taken = asyncio.Event()

        async def meet(order: OrderPlaced) -> None:
            seen.append(order.number)
            if len(seen) == 5:
                await self.evict(broker, stages[0].subscriptions[0])
                is_taken.set()

        self.on_order = meet  # type: ignore[method-assign]  # the hook is there to be replaced
        one, other = self.paying_once(), self.paying_once()
        async with self.running(stages[0], one):
            await self.place(broker, *orders(20, keys=1))
            async with self.in_time():
                await is_taken.wait()
            async with self.running(stages[1], other):
                await self.settled(one, other)
        heard = await self.heard(witness, 20)
        assert len({message.id for message in heard}) == 20

    async def test_what_fails_first_leaves_when_it_is_tried_again(self, broker: Broker) -> None:
        if not broker.capabilities.transactions:
            return
        witness, failed, done = await self.listen(broker), set[int](), set[int]()

        async def on_order(order: OrderPlaced) -> None:
            if order.number % 10 == 0 and order.number not in failed:
                failed.add(order.number)
                raise OSError("the line is cut")
            done.add(order.number)

        self.on_order = on_order  # type: ignore[method-assign]  # the hook is there to be replaced
        policy = Retry(transient=(OSError,), immediate=0, delayed=2, first_delay=timedelta(milliseconds=10))
        service = self.paying_once(policy)
        async with self.running(broker, service):
            await self.place(broker, *orders(30, keys=3))
            await self.until(lambda: len(done) == 30)
            await self.settled(service)
        heard = await self.heard(witness, 30)
        assert len({message.id for message in heard}) == 30
        assert not await self.parked(broker)
