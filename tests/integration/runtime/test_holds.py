"""A handler may take longer than a queue's patience: what it handles is held for it meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from antiphon import Key, Service, Struct, event
from antiphon.brokers.memory import MemoryBroker


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


async def test_a_handler_that_outlasts_the_hold_is_given_its_message_once() -> None:
    service = Service("slow")
    attempts: list[str] = []
    ended = asyncio.Event()

    @service.on(OrderPlaced)
    async def handle(order: OrderPlaced) -> None:
        attempts.append(order.order_id)
        await asyncio.sleep(0.8)
        ended.set()

    broker = MemoryBroker("queue", hold=timedelta(milliseconds=200))
    await service.start(broker)
    await service.publish(OrderPlaced("o-1"))
    await asyncio.wait_for(ended.wait(), 10)
    await service.stop()
    await broker.database.close()
    assert attempts == ["o-1"]
