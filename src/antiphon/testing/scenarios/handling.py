"""Promises about what handlers are given, and where what they return goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import TypeVar

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker, Delivery
from antiphon.errors import ClosedError
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.runtime.wrapping import CallNext
from antiphon.testing.scenarios.suite import OrderPlaced, PaymentTaken, RuntimeSuite, orders

T = TypeVar("T")


class Gateway:
    """Something that a handler needs, and that must be closed."""

    def __init__(self) -> None:
        self.open = True


class HandlingScenarios(RuntimeSuite):
    """Services run, hear, answer and stop."""

    async def test_what_handlers_return_is_published(self, broker: Broker) -> None:
        service, witness = Service("payments"), await self.listen(broker)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> PaymentTaken:
            return PaymentTaken(order.order_id)

        async with self.running(broker, service):
            placed = await self.place(broker, *orders(20))
            await self.settled(service)
        heard = await self.heard(witness, 20)
        assert {message.causation_id for message in heard} == {message.id for message in placed}
        assert {message.correlation_id for message in heard} == {message.id for message in placed}

    @pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
    async def test_handlers_may_return_or_yield_many(self, broker: Broker, kind: str) -> None:
        service, witness = Service("payments"), await self.listen(broker)
        _declare_splitting(service, kind)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        heard = await self.heard(witness, 3)
        assert [structs.asdict(_read(message))["number"] for message in heard] == [0, 1, 2]

    async def test_what_a_handler_emits_twice_has_the_same_ids(self, broker: Broker) -> None:
        """Two groups of one name never meet, so the same service is run anew on a copy of the message."""
        service, witness = Service("payments", inbox=False), await self.listen(broker)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> list[PaymentTaken]:
            return [PaymentTaken(order.order_id, number) for number in range(2)]

        async with self.running(broker, service):
            outgoing = self.outgoing(OrderPlaced("order-1"))
            await broker.publish([outgoing, outgoing])
            await self.settled(service)
        heard = await self.heard(witness, 4)
        assert [message.id for message in heard[:2]] == [message.id for message in heard[2:]]
        assert heard[0].id != heard[1].id

    async def test_a_publisher_sends_what_is_declared_and_nothing_else(self, broker: Broker) -> None:
        service, witness = Service("payments"), await self.listen(broker)

        @service.on(OrderPlaced, publishes=(PaymentTaken,))
        async def take(order: OrderPlaced, publisher: Publisher) -> None:
            await publisher.publish(PaymentTaken(order.order_id), key="another")
            await publisher.publish(order)

        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        assert [message.key for message in await self.heard(witness, 1)] == ["another"]
        (letter,) = await self.parked(broker)
        assert "take published 'OrderPlaced' but declares PaymentTaken" in letter.attempts[-1].text

    async def test_middleware_wraps_in_the_order_of_its_declaration(self, broker: Broker) -> None:
        service, trace = Service("payments"), list[str]()

        @service.use
        async def outer(delivery: Delivery, call_next: CallNext) -> object:
            trace.append("outer in")
            result = await call_next()
            trace.append(f"outer out {type(result).__name__}")
            return result

        @service.use
        async def inner(delivery: Delivery, call_next: CallNext) -> object:
            trace.append(f"inner {delivery.message.type}")
            return await call_next()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> PaymentTaken:
            trace.append("handler")
            return PaymentTaken(order.order_id)

        witness = await self.listen(broker)
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-1"))
            await self.settled(service)
        assert trace == ["outer in", "inner OrderPlaced", "handler", "outer out PaymentTaken"]
        await self.heard(witness, 1)

    async def test_services_in_one_process_hear_each_other(self, broker: Broker) -> None:
        payments, shipping, heard = Service("payments"), Service("shipping"), list[str]()

        @payments.on(OrderPlaced)
        async def take(order: OrderPlaced) -> PaymentTaken:
            return PaymentTaken(order.order_id)

        @shipping.on(PaymentTaken)
        async def ship(payment: PaymentTaken) -> None:
            heard.append(payment.order_id)

        async with self.running(broker, payments, shipping):
            await self.place(broker, *orders(10))
            await self.settled(payments, shipping)
        assert sorted(heard) == sorted(order.order_id for order in orders(10))

    async def test_types_that_nobody_handles_are_passed_over(self, broker: Broker) -> None:
        service, heard = Service("payments"), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            heard.append(order.number)

        async with self.running(broker, service):
            stray = structs.replace(self.outgoing(OrderPlaced("order-1")).message, type="Stray", data=b"{")
            await broker.publish([Outgoing("orders", stray)])
            await self.place(broker, OrderPlaced("order-1", 7))
            await self.settled(service)
        assert heard == [7]
        assert await self.parked(broker) == []

    async def test_dependencies_are_made_once_and_closed_at_the_end(self, broker: Broker) -> None:
        service, made, seen = Service("payments"), list[Gateway](), list[Gateway]()

        @service.provides
        async def gateway() -> AsyncIterator[Gateway]:
            made.append(Gateway())
            yield made[0]
            made[0].open = False

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced, gateway: Gateway) -> None:
            assert gateway.open
            seen.append(gateway)

        async with self.running(broker, service):
            await self.place(broker, *orders(3))
            await self.settled(service)
            assert made[0].open
        assert len(made) == 1
        assert seen == made * 3
        assert not made[0].open

    async def test_a_service_can_be_stopped_twice_and_started_again(self, broker: Broker) -> None:
        service, heard = Service("payments"), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            heard.append(order.number)

        for number in range(2):
            async with self.running(broker, service):
                await self.place(broker, OrderPlaced("order-1", number))
                await self.settled(service)
            await service.stop()
            with pytest.raises(ClosedError):
                await service.publish(OrderPlaced("order-1"))
        assert heard == [0, 1]

    async def test_a_service_runs_inside_a_loop_that_does_other_things(self, broker: Broker) -> None:
        service, other = Service("payments", broker=broker, store=self.beside(broker)), list[int]()

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            other.append(order.number)

        async with service:
            await service.publish(OrderPlaced("order-1", 5))
            await self.until(lambda: other == [5])
        await broker.publish([self.outgoing(OrderPlaced("order-1", 6))])
        await asyncio.sleep(0)
        assert other == [5]

    async def test_a_single_message_is_not_kept_waiting_for_others(self, broker: Broker) -> None:
        """One at a time, each handled and answered before the next: what is batched never waits for company."""
        service, witness = Service("payments"), await self.listen(broker)

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> PaymentTaken:
            return PaymentTaken(order.order_id)

        loop = asyncio.get_running_loop()
        async with self.running(broker, service):
            await self.place(broker, OrderPlaced("order-0"))
            await self.receive(witness, 1)
            began = loop.time()
            for number in range(10):
                await self.place(broker, OrderPlaced(f"order-{number}"))
                await self.receive(witness, 1)
        assert loop.time() - began < 10 * 0.25

    async def test_a_batch_waits_for_its_longest_wait_and_no_longer(self, broker: Broker) -> None:
        service, batches = Service("payments"), list[int]()

        @service.on_batch(OrderPlaced, size=1000, wait=timedelta(milliseconds=100))
        async def take(batch: list[OrderPlaced]) -> None:
            batches.append(len(batch))

        loop = asyncio.get_running_loop()
        async with self.running(broker, service):
            began = loop.time()
            await self.place(broker, OrderPlaced("order-1"))
            await self.until(lambda: batches)
            assert 0.09 <= loop.time() - began < 2
            await self.settled(service)
        assert batches == [1]


def _declare_splitting(service: Service, kind: str) -> None:
    def numbered(order: OrderPlaced) -> list[PaymentTaken]:
        return [PaymentTaken(order.order_id, number) for number in range(3)]

    if kind == "list":

        @service.on(OrderPlaced)
        async def listed(order: OrderPlaced) -> list[PaymentTaken]:
            return numbered(order)
    elif kind == "generator":

        @service.on(OrderPlaced)
        def yielded(order: OrderPlaced) -> Iterator[PaymentTaken]:
            yield from numbered(order)
    else:

        @service.on(OrderPlaced)
        async def streamed(order: OrderPlaced) -> AsyncIterator[PaymentTaken]:
            for each in numbered(order):
                yield each


def _read(message: Message) -> PaymentTaken:
    from antiphon.schemas.codec import codec_for

    return codec_for(PaymentTaken).read(message)
