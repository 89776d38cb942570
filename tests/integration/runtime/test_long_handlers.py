"""A handler that takes its time does not make its service look ill."""

from __future__ import annotations

import asyncio

from antiphon import Key, Service, Struct, event
from antiphon.brokers.memory import MemoryBroker


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


async def test_only_fetching_is_busy_while_a_handler_waits() -> None:
    service = Service("slow")
    begun, may_end = asyncio.Event(), asyncio.Event()

    @service.on(OrderPlaced)
    async def handle(order: OrderPlaced) -> None:
        begun.set()
        await may_end.wait()

    broker = MemoryBroker()
    await service.start(broker)
    await service.publish(OrderPlaced("o-1"))
    await asyncio.wait_for(begun.wait(), 10)
    await asyncio.sleep(0.05)
    assert [pulse.name for pulse in service.health.pulses if pulse.busy] == ["fetching"]
    may_end.set()
    await service.stop()
    await broker.database.close()
