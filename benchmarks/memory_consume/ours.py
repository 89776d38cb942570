"""A service with a typed no-op handler over a memory log, as a user runs it."""

from __future__ import annotations

import asyncio
from time import perf_counter

from antiphon import Service, connect
from benchmarks.events import OrderPlaced
from benchmarks.filling import fill
from benchmarks.measure import report

COUNT = 300_000

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
    broker = connect("memory:///")
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
