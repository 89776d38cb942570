"""Publishes one order in a transaction, waits until it is handled, pauses for a random while, and so on."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from antiphon import Service, connect
from antiphon.testing.servers import PostgresServer
from benchmarks.data import order_json
from benchmarks.events import OrderPlaced

COUNT, WARM_UP = 500, 20


async def latencies(url: str, log: Path) -> list[float]:
    """In milliseconds, from before the transaction to the handler's first line."""
    shop, arrived = Service("shop", store=url), asyncio.Queue[float]()

    @shop.on(OrderPlaced)
    async def handle(order: OrderPlaced) -> None:
        arrived.put_nowait(perf_counter())

    broker = connect(f"embedded:///{log}")
    await shop.start(broker)
    found: list[float] = []
    for number in range(COUNT + WARM_UP):
        event = msgspec.json.decode(order_json(number), type=OrderPlaced)
        started = perf_counter()
        async with shop.transaction() as (_, publisher):
            await publisher.publish(event)
        found.append((await arrived.get() - started) * 1000)
        await asyncio.sleep(random.uniform(0, 0.02))
    await shop.stop()
    await broker.close()
    return found[WARM_UP:]


def main() -> None:
    with TemporaryDirectory() as folder, PostgresServer(durable=True) as server:
        found = asyncio.run(latencies(server.url, Path(folder) / "log.db"))
    p99, p50 = quantiles(found, n=100)[98], quantiles(found, n=2)[0]
    print(json.dumps({"value": p99, "p50": p50, "seconds": sum(found) / 1000 + COUNT * 0.01}))


if __name__ == "__main__":
    main()
