"""Where the store is the broker's own, a lent connection writes in the one commit that moves the watermark, too."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pytest

from antiphon import Service, connect
from antiphon.runtime.settings import load_settings
from antiphon.testing import Harness
from tests.integration.sessions.conftest import until
from tests.integration.sessions.kinds import SQLITE_LEDGER, OrderPaid, OrderPlaced

INSERT = "insert into ledger (order_id) values (?)"


async def awaited(order: OrderPlaced, connection: sqlite3.Connection) -> OrderPaid:
    connection.execute(INSERT, [order.order_id])
    return OrderPaid(order.order_id)


def plain(order: OrderPlaced, connection: sqlite3.Connection) -> OrderPaid:
    connection.execute(INSERT, [order.order_id])
    return OrderPaid(order.order_id)


@pytest.mark.parametrize("handler", [awaited, plain])
async def test_on_the_embedded_log(handler, tmp_path):
    broker = connect(f"embedded:///{tmp_path}/log.db")
    await broker.open()
    async with broker.database.transaction() as tx:
        await tx.execute(SQLITE_LEDGER)
    payments, heard = Service("payments", broker=broker), Counter()
    payments.on(OrderPlaced, guarantee="effectively_once")(handler)

    @payments.on(OrderPaid)
    async def hear(paid: OrderPaid) -> None:
        heard[paid.order_id] += 1

    assert "its inbox mark, what it emits and the watermark commit together" in payments.describe().handlers[0].reason
    await payments.start(settings=load_settings({}, {}, tmp_path))
    orders = [f"o-{number}" for number in range(20)]
    await payments.publish_all([OrderPlaced(each) for each in orders])
    await until(payments.caught_up)
    assert Counter(await broker.database.fetch("select order_id from ledger", row=str)) == heard == Counter(orders)
    assert await broker.database.fetch("select count(*) from antiphon_outbox", row=int) == [0]
    await payments.stop()
    await broker.close()


@pytest.mark.parametrize("handler", [awaited, plain])
async def test_in_a_harness(handler):
    payments = Service("payments")
    payments.on(OrderPlaced)(handler)
    async with Harness(payments) as harness:
        async with harness.store.transaction() as tx:
            await tx.execute(SQLITE_LEDGER)
        await harness.give(OrderPlaced("1"))
        assert harness.emitted == [OrderPaid("1")]
        assert await harness.fetch("select order_id from ledger", row=str) == ["1"]


async def test_a_connection_that_is_kept_past_its_handler_is_closed(tmp_path):
    kept = []

    async def keep(order: OrderPlaced, connection: sqlite3.Connection) -> None:
        kept.append(connection)

    payments = Service("payments")
    payments.on(OrderPlaced)(keep)
    async with Harness(payments) as harness:
        await harness.give(OrderPlaced("1"))
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            kept[0].execute("select 1")
