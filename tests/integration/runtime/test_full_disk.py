"""A service whose file has no more room waits, loses nothing, and goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.outbox import is_outbox_empty
from antiphon.storage.sqlite import SqliteDatabase

BULK = "x" * 20_000


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "log.db")
    await broker.open()
    yield broker
    await broker.close()


async def limit(database: Database, pages: int) -> None:
    """Let the file have at most so many pages more than now: as full as a disk can be."""
    tx = await database.begin()
    now = await tx.fetch_one("pragma page_count", row=int)
    assert now is not None
    await tx.fetch(f"pragma max_page_count = {now + pages}")
    await tx.rollback()


def a_service(with_transaction: bool, handled: list[str]) -> Service:
    service = Service("payments")
    if with_transaction:

        @service.on(OrderPlaced)
        async def write(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
            handled.append(order.order_id)
            await tx.execute("insert into bulk values (?, ?)", order.order_id, BULK)
            return PaymentTaken(order.order_id)
    else:

        @service.on(OrderPlaced)
        async def answer(order: OrderPlaced) -> PaymentTaken:
            handled.append(order.order_id)
            return PaymentTaken(order.order_id + BULK)

    return service


@pytest.mark.parametrize("with_transaction", [True, False])
async def test_a_full_file_is_waited_for_and_then_everything_takes_effect_once(
    broker: EmbeddedBroker, with_transaction: bool
) -> None:
    handled: list[str] = []
    service = a_service(with_transaction, handled)
    async with broker.database.transaction() as tx:
        await tx.execute("create table bulk (order_id text not null, text text not null)")
    settings = Settings(common=ServiceSettings(broker=broker.url))
    await service.start(broker, settings)
    await service.stop()
    till = Service("till")
    await till.start(broker, settings)
    await till.publish_all([OrderPlaced(f"order-{n}") for n in range(20)])
    await till.stop()
    await limit(broker.database, 20)
    await service.start(broker, settings)
    try:
        await asyncio.sleep(0.3)
        assert not await service.caught_up()
        await limit(broker.database, 10_000)
        async with asyncio.timeout(20):
            while not await service.caught_up():  # noqa: ASYNC110 - there is nothing to be told by
                await asyncio.sleep(0.01)
    finally:
        await service.stop()
    assert await list_parked(broker.database) == []
    payments = await broker.browse("payments", {}, 1000)
    assert len(payments) == 20
    assert len({delivery.message.id for delivery in payments}) == 20
    if with_transaction:
        assert await broker.database.fetch("select count(distinct order_id), count(*) from bulk") == [(20, 20)]


async def test_a_full_store_beside_the_log_is_waited_for_and_its_outbox_loses_nothing(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    handled: list[str] = []
    service, store = a_service(True, handled), SqliteDatabase(tmp_path / "store.db")
    settings = Settings(common=ServiceSettings(broker=broker.url))
    await store.open()
    async with store.transaction() as tx:
        await tx.execute("create table bulk (order_id text not null, text text not null)")
    await service.start(broker, settings, None, store)
    try:
        await limit(store, 20)
        await service.publish_all([OrderPlaced(f"order-{n}") for n in range(20)])
        await asyncio.sleep(0.3)
        assert not await service.caught_up()
        await limit(store, 10_000)
        async with asyncio.timeout(20):
            while not (await service.caught_up() and await is_outbox_empty(store)):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert await list_parked(store) == []
        assert await store.fetch("select count(distinct order_id), count(*) from bulk") == [(20, 20)]
    finally:
        await service.stop()
        await store.close()
    payments = await broker.browse("payments", {}, 1000)
    assert len({delivery.message.id for delivery in payments}) == 20
    assert {delivery.message.key for delivery in payments} == {f"order-{n}" for n in range(20)}
