"""Under a stricter isolation a service goes on, however often others change what is set aside meanwhile."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from antiphon import Delivery, Key, Retry, Service, Struct, Transaction, connect, event
from antiphon.errors import TransactionConflictError
from antiphon.runtime.settings import load_settings
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.set_aside import take_turn

SOON = Retry(immediate=0, delayed=100, first_delay=timedelta(milliseconds=50), factor=1.0, jitter=False)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@asynccontextmanager
async def others_at_work(store):
    """They have turns more often than the handler ends."""

    async def work():
        while True:
            try:
                async with store.transaction() as tx:
                    await take_turn(tx)
            except TransactionConflictError:
                pass
            await asyncio.sleep(0.02)

    working = asyncio.create_task(work())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def paying(broker, store, transaction):
    payments = Service("payments", broker=broker, store=store)

    @payments.on(OrderPlaced, policy=SOON, transaction=transaction)
    async def pay(order: OrderPlaced, tx: Transaction, delivery: Delivery) -> None:
        await tx.execute("insert into ledger (order_id) values (?)", order.order_id)
        await tx.fetch("select pg_sleep(0.05)")
        if delivery.attempt < 3:
            raise ConnectionError("not yet")

    return payments


async def is_over(store):
    """Whether each was handled once, and nothing is left of what it took."""
    paid = await store.fetch("select order_id from ledger", row=str)
    return len(paid) == len(set(paid)) == 3 and not await store.fetch("select number from antiphon_set_aside")


@pytest.mark.parametrize("isolation", ["repeatable-read", "serializable"])
@pytest.mark.parametrize("transaction", ["own", "shared"])
async def test_what_failed_is_set_aside_tried_again_and_settled_beside_others(
    postgres_url, tmp_path, isolation, transaction
):
    store, other = (PostgresDatabase(f"{postgres_url}&isolation={isolation}") for _ in range(2))
    broker = connect(f"embedded:///{tmp_path}/log.db")
    for each in (broker, store, other):
        await each.open()
    async with store.transaction() as tx:
        await tx.execute("create table ledger (order_id text)")
    payments = paying(broker, store, transaction)
    await payments.start(settings=load_settings({}, {}, tmp_path))
    try:
        async with others_at_work(other), asyncio.timeout(20):
            await payments.publish_all([OrderPlaced(f"o{number}") for number in range(3)])
            while not await is_over(other):
                await asyncio.sleep(0.05)
    finally:
        await payments.stop()
        for each in (broker, store, other):
            await each.close()
