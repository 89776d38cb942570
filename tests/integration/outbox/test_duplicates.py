"""What comes again while what it caused still waits to be published causes nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.errors import ConnectionLostError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.connect import connect_store
from antiphon.storage.outbox import is_outbox_empty, outbox_backlog
from antiphon.testing.sabotage import Saboteur

ORDERS = 20


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


class Closed(Saboteur):
    """A broker that takes nothing for now."""

    is_closed = False

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        if self.is_closed:
            raise ConnectionLostError("it is away")
        await super().publish(outgoing)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "log.db")
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


async def all_read(broker: EmbeddedBroker) -> None:
    """Return when the group has settled everything that the log holds for it."""
    async with asyncio.timeout(20):
        while not (lags := await broker.lag("payments")) or any(lag.messages for lag in lags):  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("mode", ["shared", "own"])
async def test_a_duplicate_that_comes_before_the_relay_is_done_is_left_out_with_what_it_would_emit(
    broker: EmbeddedBroker, url: str, mode: str
) -> None:
    road, store, handled = Closed(broker), connect_store(url), list[str]()
    service = Service("payments")

    @service.on(OrderPlaced, transaction="own" if mode == "own" else "shared")
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        await tx.fetch("select 1")
        handled.append(order.order_id)
        return PaymentTaken(order.order_id)

    composer = Composer("till", SystemClock())
    sent = [composer.first(OrderPlaced(f"order-{number}")) for number in range(ORDERS)]
    await broker.publish(sent)
    await store.open()
    road.is_closed = True
    await service.start(road, Settings(common=ServiceSettings(broker=broker.url)), None, store)
    try:
        await all_read(broker)
        assert (await outbox_backlog(store, SystemClock().now())).messages == ORDERS
        await broker.publish(sent)
        await all_read(broker)
        assert (await outbox_backlog(store, SystemClock().now())).messages == ORDERS
        road.is_closed = False
        async with asyncio.timeout(20):
            while not await is_outbox_empty(store):  # noqa: ASYNC110 - there is nothing to be told by
                await asyncio.sleep(0.01)
        await broker.publish(sent)
        await all_read(broker)
    finally:
        await service.stop()
    assert len(handled) == ORDERS
    told = [delivery.message for delivery in await broker.browse("payments", {}, 1000)]
    assert sorted(str(message.key) for message in told) == sorted(handled)
    assert await is_outbox_empty(store)
    await store.close()
