"""The processes that are killed: `publish` confirms orders by number, `handle` writes a row and an event for each."""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from antiphon import Key, Service, Struct, Transaction, connect, event, run

BATCH = 10


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


till = Service("till")
payments = Service("payments", migrations="migrations")


@payments.on(OrderPlaced, guarantee="effectively_once")
async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
    await tx.execute("insert into ledger (order_id) values (?)", order.order_id)
    return PaymentAuthorised(order.order_id)


async def publish(url: str, first: int) -> None:
    """Publish batches without end; a number on a line means that all below it are confirmed."""
    broker = connect(url)
    await till.start(broker)
    for start in count(first, BATCH):
        await till.publish_all([OrderPlaced(f"order-{number}") for number in range(start, start + BATCH)])
        print(start + BATCH, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        asyncio.run(publish(sys.argv[2], int(sys.argv[3])))
    else:
        run(payments, broker=sys.argv[2])
