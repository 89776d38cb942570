"""The relay of faststream-outbox: its subscriber drains its own table into a list.

The list stands for the log that ours and the twin commit to, and the handler itself appends to it, without the
publisher of another broker that its manual puts there, so this side has less to do. It runs as fast as it can be asked
to: on asyncpg, in batches of BATCH instead of 10 to claim and of 1 to delete, with bytes that nobody decodes or
validates, no logger, and WORKERS, though more than one promise no order of a key, which ours and the twin keep.
"""

import asyncio
import json
import sys
from time import perf_counter

from faststream_outbox import OutboxBroker, make_outbox_table
from sqlalchemy import MetaData, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.data import order_json

BATCH = 1_000
"""Ours and the twin read as many at once; more are no faster."""
WORKERS = 4
"""While one deletes, another handles; more are no faster."""

metadata = MetaData()
outbox = make_outbox_table(metadata)
kept: list[bytes] = []
everything = asyncio.Event()


def relaying(engine: AsyncEngine, count: int) -> OutboxBroker:
    """A broker whose relay keeps messages, and tells when it has `count`."""
    broker = OutboxBroker(engine, outbox_table=outbox, logger=None, apply_types=False)

    @broker.subscriber(
        "orders",
        max_workers=WORKERS,
        fetch_batch_size=BATCH,
        terminal_flush_batch_size=BATCH,
        decoder=lambda message: message.body,
    )
    async def relay(body: bytes) -> None:
        kept.append(body)
        if len(kept) == count:
            everything.set()

    return broker


async def stage(broker: OutboxBroker, engine: AsyncEngine, count: int) -> None:
    """Publish `count` orders into its table; preparation, not measured."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    for first in range(0, count, BATCH):
        orders = [order_json(number) for number in range(first, min(first + BATCH, count))]
        async with engine.begin() as connection:
            await broker.publish_batch(*orders, queue="orders", session=connection)


async def main(url: str, count: int) -> None:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    broker = relaying(engine, count)
    await stage(broker, engine, count)
    started = perf_counter()
    await broker.start()
    await everything.wait()
    await broker.stop()  # returns when the last ones are deleted
    seconds = perf_counter() - started
    async with engine.connect() as connection:
        left = (await connection.execute(select(func.count()).select_from(outbox))).scalar_one()
    await engine.dispose()
    assert left == 0, left
    assert len(set(kept)) == len(kept) == count
    print(json.dumps({"value": count / seconds, "seconds": seconds}))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
