"""An application publishes typed events to the embedded log, a batch at a time, each batch confirmed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from antiphon import Service, connect
from benchmarks.data import orders
from benchmarks.embedded_publish.twin import BATCH, COUNT
from benchmarks.events import OrderPlaced
from benchmarks.measure import report

shop = Service("shop")


async def main() -> None:
    events = [msgspec.json.decode(data, type=OrderPlaced) for data in orders(COUNT)]
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        await shop.start(broker)
        started = perf_counter()
        for start in range(0, COUNT, BATCH):
            await shop.publish_all(events[start : start + BATCH])
        seconds = perf_counter() - started
        held = sum(topic.messages for topic in await broker.topics())
        await shop.stop()
        await broker.close()
    report(COUNT, seconds, done=held)


if __name__ == "__main__":
    asyncio.run(main())
