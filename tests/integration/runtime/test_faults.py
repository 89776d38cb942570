"""What no policy covers stops the service and says so; it neither goes round in circles nor goes on half."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Struct, structs

from antiphon import Key, Service, Transaction, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import ServiceSettings, Settings


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]


async def test_a_message_that_cannot_even_be_parked_stops_the_service() -> None:
    """Only a log in memory holds such an id; the inbox, in a file, cannot."""
    broker, service = MemoryBroker(), Service("payments")

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced, tx: Transaction) -> None:
        raise AssertionError("it has no mark, so it must not be handled")

    await broker.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)))
    topic, message = Composer("test", SystemClock()).first(OrderPlaced("order-1"))
    await broker.publish([Outgoing(topic, structs.replace(message, id="\ud800"))])
    async with asyncio.timeout(5):
        with pytest.raises(UnicodeEncodeError):
            await service.wait()
    await service.stop()
    await broker.close()
    await broker.database.close()
