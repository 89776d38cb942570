"""Does anything remain of a service that has stopped?"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers import connect
from antiphon.runtime.consumer import Consumer
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.sqlite import SqliteDatabase


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


def by_itself(service: Service, seen: asyncio.Event) -> None:
    @service.on(OrderPlaced)
    async def pay(order: OrderPlaced) -> None:
        seen.set()


def in_transactions(service: Service, seen: asyncio.Event) -> None:
    @service.on(OrderPlaced)
    async def pay(order: OrderPlaced, tx: Transaction) -> None:
        seen.set()


Declare = Callable[[Service, asyncio.Event], None]


async def handle_one(declare: Declare) -> None:
    service, broker, seen = Service("payments"), connect("memory://"), asyncio.Event()
    declare(service, seen)
    store = SqliteDatabase(":memory:")
    await broker.open()
    await store.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)), store=store)
    await service.publish(OrderPlaced("order-1"))
    await asyncio.wait_for(seen.wait(), 10)
    await service.stop()
    await broker.close()
    await store.close()


def consumers() -> int:
    """How many there are. What hangs together with a message that is kept for nothing is never collected."""
    gc.collect()
    return sum(type(each) is Consumer for each in gc.get_objects())  # what pretends to be another looks itself up


@pytest.mark.parametrize("declare", [by_itself, in_transactions])
async def test_nothing_remains_of_a_service_that_has_stopped(declare: Declare) -> None:
    before = consumers()
    await handle_one(declare)
    await asyncio.sleep(0)
    assert consumers() == before
