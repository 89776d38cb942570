"""Promises about the end: what runs is finished or given back, and nothing is lost, settled early or parked by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Broker, Delivery
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite, in_order, orders

SHORT = timedelta(milliseconds=50)


class DrainScenarios(RuntimeSuite):
    """A service is stopped in the middle of its work."""

    @pytest.mark.parametrize("mode", ["none", "shared", "own"])
    async def test_a_handler_that_outlasts_the_drain_is_given_back_and_repeated_once(
        self, broker: Broker, mode: str
    ) -> None:
        service, held, attempts = self.service(), asyncio.Event(), list[int]()

        async def wait(delivery: Delivery) -> None:
            attempts.append(delivery.attempt)
            if len(attempts) == 1:
                await held.wait()

        if mode == "none":

            @service.on(OrderPlaced)
            async def take(order: OrderPlaced, delivery: Delivery) -> None:
                await wait(delivery)
        else:

            @service.on(OrderPlaced, transaction="own" if mode == "own" else "shared")
            async def write(order: OrderPlaced, delivery: Delivery, tx: Transaction) -> None:
                await tx.execute("insert into ledger values (?, 0)", order.order_id)
                await wait(delivery)

        async with self.running(broker, service, drain=SHORT):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: attempts)
        assert await self.ledger(broker) == []
        async with self.running(broker, service):
            await self.settled(service)
        async with self.running(broker, service):
            await self.settled(service)
        assert attempts == [1, 1]
        assert await self.ledger(broker) == ([] if mode == "none" else ["order-1"])
        assert await self.parked(broker) == []

    async def test_a_handler_that_ends_within_the_drain_is_settled(self, broker: Broker) -> None:
        service, held, began = Service("payments"), asyncio.Event(), list[str]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            began.append(order.order_id)
            await held.wait()

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: began)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.01)
            assert not stopping.done()
            held.set()
            await stopping
        async with self.running(broker, service):
            await self.settled(service)
        assert began == ["order-1"]

    async def test_a_stop_that_is_cancelled_goes_on_and_the_next_call_waits_for_its_end(self, broker: Broker) -> None:
        service, other, held, began = Service("payments"), Service("payments"), asyncio.Event(), list[str]()

        async def take(order: OrderPlaced) -> None:
            began.append(order.order_id)
            await held.wait()

        for each in (service, other):
            each.on(OrderPlaced)(take)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: began)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await service.stop()
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.02)
            assert not stopping.done()
            held.set()
            await stopping
        async with self.running(broker, other):
            await self.place(broker, OrderPlaced("order-2"))
            await self.settled(other)
        assert began == ["order-1", "order-2"]

    async def test_what_was_fetched_and_not_begun_comes_again(self, broker: Broker) -> None:
        service, held, begun, attempts = Service("payments"), asyncio.Event(), list[int](), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, delivery: Delivery) -> None:
            begun.append(order.number)
            attempts.append(delivery.attempt)
            await held.wait()

        async with self.running(broker, service):
            await self.place(broker, *orders(500, keys=1))
            await self.until(lambda: begun)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.1)  # until it fetches no more, also where it says goodbye to a store before
            held.set()
            await stopping
        assert begun == [0]
        async with self.running(broker, service):
            await self.settled(service)
        assert in_order(broker, begun) == list(range(500))
        assert set(attempts) == {1}
        assert await self.parked(broker) == []

    async def test_what_a_handler_publishes_during_the_drain_is_held_before_it_is_settled(self, broker: Broker) -> None:
        service, held, began = Service("payments"), asyncio.Event(), list[str]()
        witness = await self.listen(broker)

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def take(order: OrderPlaced, publisher: Publisher) -> PaymentTaken:
            began.append(order.order_id)
            await held.wait()
            await publisher.publish(PaymentTaken(order.order_id, 1))
            return PaymentTaken(order.order_id, 2)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: began)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0.01)
            held.set()
            await stopping
        await self.heard(witness, 2)
        async with self.running(broker, service):
            await self.settled(service)
        assert began == ["order-1"]

    async def test_runners_end_before_consuming_does_and_dependencies_after_it(self, broker: Broker) -> None:
        service, ended = Service("payments"), list[str]()
        service.carry(_Noting(ended))

        @service.provides
        async def gateway() -> AsyncIterator[Gateway]:
            yield Gateway()
            ended.append("gateway")

        held, began = asyncio.Event(), asyncio.Event()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, gateway: Gateway) -> None:
            began.set()
            await held.wait()
            ended.append("handler")

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(began.is_set)
            health, stopping = service.health, asyncio.create_task(service.stop())
            await self.until(lambda: ended == ["runner"])
            assert health.state == "draining"
            held.set()
            await stopping
        assert ended == ["runner", "handler", "gateway"]
        assert health.state == "stopped"

    async def test_a_runner_that_fails_at_its_end_keeps_nothing_from_being_settled(self, broker: Broker) -> None:
        service, held, began = Service("payments"), asyncio.Event(), list[str]()
        service.carry(_Falling())

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            began.append(order.order_id)
            await held.wait()

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: began)
            health = service.health
            held.set()
        assert health.state == "stopped"
        async with self.running(broker, service):
            await self.settled(service)
        assert began == ["order-1"]


class Gateway:
    """Something that must be closed."""


class _Noting:
    """A runner that says when it was drained."""

    def __init__(self, ended: list[str]) -> None:
        self.name = "noting"
        self._ended = ended

    def status(self) -> dict[str, str | int | float | bool]:
        return {"ended": len(self._ended)}

    async def start(self) -> None:
        return None

    async def drain(self) -> None:
        self._ended.append("runner")


class _Falling(_Noting):
    """A runner that cannot even end."""

    def __init__(self) -> None:
        super().__init__([])

    async def drain(self) -> None:
        raise ValueError("it fell")
