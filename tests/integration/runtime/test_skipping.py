"""Is what a service skips settled, whatever happens at the same time?"""

from __future__ import annotations

import asyncio

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.storage.sqlite import SqliteTransaction


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]


@event(topic="orders")
class OrderShipped(Struct, frozen=True):
    """Nobody here reads it."""

    order_id: Key[str]


async def lag_of(broker: MemoryBroker, group: str) -> int:
    return sum(lag.messages for lag in await broker.lag(group))


async def test_what_is_skipped_while_a_transaction_commits_is_settled_after_it(monkeypatch):
    broker, other, service = MemoryBroker(), Service("other"), Service("orders")
    committing = SqliteTransaction.commit
    interrupted = asyncio.Event()

    @service.on(OrderPlaced)
    async def keep(order: OrderPlaced, tx: Transaction) -> None:
        await tx.fetch("select 1")

    async def commit_late(transaction: SqliteTransaction) -> None:
        if not interrupted.is_set():
            interrupted.set()
            await other.publish(OrderShipped("1"))
            await asyncio.sleep(0.1)  # long enough for it to be fetched, skipped, and found to stand behind the first
        await committing(transaction)

    await other.start(broker)
    await service.start(broker)
    monkeypatch.setattr(SqliteTransaction, "commit", commit_late)
    try:
        await other.publish(OrderPlaced("1"))
        async with asyncio.timeout(5):
            await interrupted.wait()
            while await lag_of(broker, "orders"):  # noqa: ASYNC110 - the broker is asked, as an operator would ask it
                await asyncio.sleep(0.01)
    finally:
        await service.stop()
        await other.stop()
        await broker.close()
