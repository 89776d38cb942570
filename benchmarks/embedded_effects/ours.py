"""A service whose handler writes a row and emits an event, effectively once, over the embedded log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon import Service, Transaction, connect
from benchmarks.embedded_effects.twin import COUNT
from benchmarks.events import OrderPlaced, PaymentAuthorised
from benchmarks.filling import fill
from benchmarks.measure import report

shop = Service("shop", migrations="migrations")
everything = asyncio.Event()
handled = 0


@shop.on(OrderPlaced, guarantee="effectively_once")
async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
    global handled  # noqa: PLW0603  # the shortest counter there is
    pence = int(order.total * 100)
    await tx.execute("insert into ledger (order_id, pence) values (?, ?)", order.order_id, pence)
    handled += 1
    if handled == COUNT:
        everything.set()
    return PaymentAuthorised(order.order_id, pence)


async def main() -> None:
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        await broker.open()
        await fill(broker, COUNT)
        started = perf_counter()
        await shop.start(broker)
        counters = shop.store.counters
        commits, statements = counters.commits, counters.statements
        await everything.wait()
        await shop.stop()
        seconds = perf_counter() - started
        commits, statements = counters.commits - commits, counters.statements - statements
        held = {topic.name: topic.messages for topic in await broker.topics()}
        left = sum(lag.messages for lag in await broker.lag("shop"))
        await broker.close()
    report(
        COUNT,
        seconds,
        done=held["payments"] - left,
        commits_per_message=commits / COUNT,
        statements_per_message=statements / COUNT,
    )


if __name__ == "__main__":
    asyncio.run(main())
