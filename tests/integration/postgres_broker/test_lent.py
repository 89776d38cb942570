"""A handler that is given a connection of the driver: what it writes, its watermark and its event are one commit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from antiphon import Key, Service, Struct, event
from antiphon.brokers.ports import SeekTo
from antiphon.brokers.postgres import PostgresBroker
from antiphon.runtime.settings import load_settings


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


@pytest.mark.parametrize("way", ["awaited", "plain"])
async def test_a_lent_connection_joins_the_commit_of_the_broker(
    broker: PostgresBroker, tmp_path: Path, way: str
) -> None:
    service = Service("payments", broker=broker)
    if way == "awaited":

        @service.on(OrderPlaced)
        async def pay(order: OrderPlaced, connection: psycopg.AsyncConnection) -> OrderPaid:
            await connection.execute("insert into ledger values (%s)", [order.order_id])
            return OrderPaid(order.order_id)
    else:

        @service.on(OrderPlaced)
        def pay_plainly(order: OrderPlaced, connection: psycopg.Connection) -> OrderPaid:
            connection.execute("insert into ledger values (%s)", [order.order_id])
            return OrderPaid(order.order_id)

    async with broker.database.transaction() as tx:
        await tx.execute("create table ledger (order_id text primary key)")
    await service.start(settings=load_settings({}, {}, tmp_path))
    await service.publish_all([OrderPlaced(f"o-{number}") for number in range(30)])
    async with asyncio.timeout(30):
        while not await service.caught_up():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
    await service.stop()
    rows = await broker.database.fetch("select order_id from ledger", row=str)
    told = await broker.browse("payments", SeekTo.START, 100)
    assert sorted(rows) == sorted(each.message.key or "" for each in told) == sorted(f"o-{n}" for n in range(30))
    assert await broker.database.fetch("select count(*) from antiphon_outbox") == [(0,)]
    assert await service_lag(broker) == 0


async def service_lag(broker: PostgresBroker) -> int:
    return sum(lag.messages for lag in await broker.lag("payments"))
