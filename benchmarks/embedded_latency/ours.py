"""Publishes one order, waits until it is handled, pauses, and so on: once within a process, once to another.

The pauses are random, so that no poll of the reader falls into step with the publisher.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from antiphon import Service, connect
from benchmarks.data import order_json
from benchmarks.events import OrderPlaced

COUNT, WARM_UP = 300, 20

shop = Service("shop")
till = Service("till")
arrived: asyncio.Queue[float] = asyncio.Queue()


@shop.on(OrderPlaced)
async def handle(order: OrderPlaced) -> None:
    arrived.put_nowait(perf_counter())


async def latencies(
    publish: Callable[[object], Awaitable[object]], wait: Callable[[], Awaitable[float]]
) -> list[float]:
    """In milliseconds, from before the publish to the handler's first line."""
    found: list[float] = []
    for number in range(COUNT + WARM_UP):
        event = msgspec.json.decode(order_json(number), type=OrderPlaced)
        started = perf_counter()
        await publish(event)
        found.append((await wait() - started) * 1000)
        await asyncio.sleep(random.uniform(0, 0.01))
    return found[WARM_UP:]


async def in_one_process(folder: Path) -> list[float]:
    broker = connect(f"embedded:///{folder / 'one.db'}")
    await shop.start(broker)
    found = await latencies(shop.publish, arrived.get)
    await shop.stop()
    await broker.close()
    return found


async def across_two(folder: Path) -> list[float]:
    url = f"embedded:///{folder / 'two.db'}"
    broker = connect(url)
    await till.start(broker)
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.embedded_latency.consumer", url, stdout=PIPE
    )
    assert consumer.stdout is not None
    lines = consumer.stdout

    async def handled() -> float:
        while True:
            line = await lines.readline()
            if not line:
                raise SystemExit("the consumer ended")
            try:
                return float(line)
            except ValueError:
                continue  # a line of the start summary

    found = await latencies(till.publish, handled)
    consumer.terminate()
    await consumer.wait()
    await till.stop()
    await broker.close()
    return found


async def main() -> None:
    with TemporaryDirectory() as folder:
        one, two = await in_one_process(Path(folder)), await across_two(Path(folder))
    one_p99, two_p99 = quantiles(one, n=100)[98], quantiles(two, n=100)[98]
    seconds = (sum(one) + sum(two)) / 1000 + 2 * COUNT * 0.005
    figures = {"value": one_p99, "one_p99": one_p99, "two_p99": two_p99, "one_p50": quantiles(one, n=2)[0]}
    print(json.dumps({**figures, "two_p50": quantiles(two, n=2)[0], "seconds": seconds}))


if __name__ == "__main__":
    asyncio.run(main())
