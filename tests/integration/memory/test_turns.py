"""Do handlers that never wait leave the event loop to others now and then?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from antiphon import Key, Publisher, Service, Struct, event
from antiphon.brokers import connect
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.sqlite import SqliteDatabase

_COUNT, _BUSY = 100, 0.005
_FEW = 10
"""Turns, of the twenty-five that there are room for; on a busy machine there is room for more."""


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


def work(seen: Callable[[], None]) -> None:
    began = time.perf_counter()
    while time.perf_counter() - began < _BUSY:
        pass
    seen()


def by_the_short_path(service: Service, seen: Callable[[], None]) -> None:
    @service.on(OrderPlaced)
    async def pay(order: OrderPlaced) -> None:
        work(seen)


def by_the_long_path(service: Service, seen: Callable[[], None]) -> None:
    @service.on(OrderPlaced, publishes=(PaymentTaken,))
    async def pay(order: OrderPlaced, publisher: Publisher) -> None:
        work(seen)


@pytest.mark.parametrize("declare", [by_the_short_path, by_the_long_path])
@pytest.mark.parametrize("keys", [1, _COUNT])
async def test_the_event_loop_turns_while_handlers_run_that_never_wait(
    declare: Callable[[Service, Callable[[], None]], None], keys: int
) -> None:
    service, turns, at = Service("payments"), 0, list[int]()
    declare(service, lambda: at.append(turns))

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    broker, store = connect("memory://"), SqliteDatabase(":memory:")
    await broker.open()
    await store.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)), store=store)
    turning = asyncio.create_task(turn())
    await service.publish_all([OrderPlaced(f"o-{number % keys}") for number in range(_COUNT)])
    async with asyncio.timeout(30):
        while len(at) < _COUNT:  # noqa: ASYNC110 - nobody sets an event when it comes true
            await asyncio.sleep(0.01)
    turning.cancel()
    await service.stop()
    await store.close()
    await broker.close()
    assert len(set(at)) >= _FEW
