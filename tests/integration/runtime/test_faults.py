"""What no policy covers stops the service and says so; it neither goes round in circles nor goes on half."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec import Struct, structs

from antiphon import Key, Service, Transaction, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import AccessDeniedError, BrokerError, DataLostError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.health import readiness
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.dead_letters import list_parked

SOON = timedelta(milliseconds=100)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]


@event(topic="shipments")
class OrderShipped(Struct, frozen=True):
    """An order left the house."""

    order_id: Key[str]


async def test_a_message_that_cannot_even_be_parked_stops_the_service() -> None:
    """Only a log in memory holds such an id; the inbox, in a file, cannot."""
    broker, service = MemoryBroker(), Service("payments")

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced, tx: Transaction) -> None:
        raise AssertionError("it has no mark, so it must not be handled")

    await broker.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)))
    async with asyncio.timeout(5):
        await broker.publish([an_order("\ud800")])
        with pytest.raises(UnicodeEncodeError):
            await service.wait()
        await service.stop()
    await broker.close()
    await broker.database.close()


async def test_a_service_that_failed_is_not_ready_and_leaves_its_messages_to_others() -> None:
    """An application that carries it may not be waiting for it."""
    broker, failing, other, taken = MemoryBroker(), Service("payments"), Service("payments"), asyncio.Event()

    @failing.on(OrderPlaced)
    async def fail(order: OrderPlaced, tx: Transaction) -> None:
        raise AssertionError("it has no mark, so it must not be handled")

    @other.on(OrderPlaced)
    async def take(order: OrderPlaced) -> None:
        taken.set()

    await broker.open()
    settings = Settings(common=ServiceSettings(broker=broker.url))
    async with asyncio.timeout(5):
        await failing.start(broker, settings)
        await broker.publish([an_order("\ud800")])
        with pytest.raises(UnicodeEncodeError):
            await failing.wait()
        assert not readiness([failing.health]).ok
        await other.start(broker, settings)
        await taken.wait()
        await other.stop()
        await failing.stop()
    await broker.close()
    await broker.database.close()


@pytest.mark.parametrize("error", [AccessDeniedError("no right to write"), DataLostError("it was emptied")])
async def test_a_broker_that_takes_nothing_from_us_stops_the_service_and_no_message_is_parked_for_it(
    error: BrokerError,
) -> None:
    class Shut(MemoryBroker):
        async def publish(self, outgoing: Sequence[Outgoing]) -> None:
            if any(each.topic == "shipments" for each in outgoing):
                raise error
            await super().publish(outgoing)

    broker, service = Shut(), Service("shipping")

    @service.on(OrderPlaced)
    async def ship(order: OrderPlaced) -> OrderShipped:
        return OrderShipped(order.order_id)

    await broker.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url, drain_timeout=SOON)))
    async with asyncio.timeout(5):
        await broker.publish([an_order("first"), an_order("second")])
        with pytest.raises(type(error)):
            await service.wait()
        await service.stop()
    assert await list_parked(broker.database) == []
    assert sum(lag.messages for lag in await broker.lag("shipping")) == 2
    await broker.close()
    await broker.database.close()


def an_order(id: str) -> Outgoing:
    topic, message = Composer("test", SystemClock()).first(OrderPlaced("order-1"))
    return Outgoing(topic, structs.replace(message, id=id))
