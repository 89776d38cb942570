"""A typed no-op handler over a memory log, with everything that a policy can have, or with none."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from time import perf_counter

from antiphon import Retry, Service, connect
from antiphon.resilience import Breaker
from benchmarks.events import OrderPlaced
from benchmarks.filling import fill
from benchmarks.measure import report

COUNT = 300_000
WHOLE = Retry(
    within=timedelta(hours=1), transient=(ConnectionError,), permanent=(ValueError,), ignorable=(LookupError,)
)

everything = asyncio.Event()
handled = 0


def service(kind: str) -> Service:
    if kind == "none":
        return Service("shop")
    return Service("shop", policy=WHOLE, breaker=Breaker(slow=timedelta(seconds=1), slow_rate=0.5))


async def handle(order: OrderPlaced) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == COUNT:
        everything.set()


async def main(kind: str) -> None:
    shop = service(kind)
    shop.on(OrderPlaced)(handle)
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
    asyncio.run(main(sys.argv[1]))
