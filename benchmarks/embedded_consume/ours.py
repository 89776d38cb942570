"""A service with a typed no-op handler, at least once, over the embedded log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon import Service, connect
from benchmarks.events import OrderPlaced
from benchmarks.filling import fill
from benchmarks.measure import report

COUNT = 200_000

shop = Service("shop")
everything = asyncio.Event()
handled = 0


@shop.on(OrderPlaced)
async def handle(order: OrderPlaced) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == COUNT:
        everything.set()


async def main() -> None:
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        await broker.open()
        await fill(broker, COUNT)
        started = perf_counter()
        await shop.start(broker)
        await everything.wait()
        await shop.stop()
        seconds = perf_counter() - started
        left = sum(lag.messages for lag in await broker.lag("shop"))
        await broker.close()
    report(COUNT, seconds, done=handled - left)


if __name__ == "__main__":
    asyncio.run(main())
