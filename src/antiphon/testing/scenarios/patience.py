"""Promises about handlers that take longer than the broker waits for a sign of life."""

from __future__ import annotations

import asyncio

from antiphon.brokers.ports import Broker, Delivery
from antiphon.runtime.service import Service
from antiphon.testing.scenarios.suite import OrderPlaced, RuntimeSuite


class PatienceScenarios(RuntimeSuite):
    """The test of an adapter makes `lease` short, or replaces `stand_ins` and `elapse`."""

    async def test_a_handler_that_outlasts_the_lease_keeps_its_message(self, broker: Broker) -> None:
        """Another process of the service stands by and must not get it: no second attempt, no eviction."""
        held, attempts = asyncio.Event(), list[int]()

        def a_member() -> Service:
            service = Service("payments")

            @service.on(OrderPlaced)
            async def take(order: OrderPlaced, delivery: Delivery) -> None:
                attempts.append(delivery.attempt)
                await held.wait()

            return service

        one, other = a_member(), a_member()
        async with self.running(broker, one), self.running(broker, other):
            await self.elapse(self.lease)  # what is in hand while partitions are shared out may have to move
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: attempts)
            for _ in range(30):
                await self.elapse(self.lease / 10)
            held.set()
            await self.settled(one, other)
        assert attempts == [1]

    async def test_the_service_stays_ready_while_a_handler_takes_long(self, broker: Broker) -> None:
        held, began = asyncio.Event(), list[str]()
        service = Service("payments")

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            began.append(order.order_id)
            await held.wait()

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: began)
            for _ in range(3):
                await self.elapse(self.lease)
            assert not service.health.fetching.is_stalled
            held.set()
            await self.settled(service)
