"""An application publishes typed events to Kafka, a batch at a time, each batch confirmed before the next."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from antiphon import Service, connect
from antiphon.brokers.ports import Broker
from antiphon.runtime.settings import ServiceSettings, Settings
from benchmarks.data import orders
from benchmarks.events import OrderPlaced
from benchmarks.measure import report

BATCH, WARM_UP = 1_000, 2


async def main(count: int, url: str) -> None:
    events = [msgspec.json.decode(data, type=OrderPlaced) for data in orders(count)]
    with TemporaryDirectory() as folder:
        broker, shop = connect(url), Service("shop", store=f"sqlite:///{Path(folder) / 'shop.db'}")
        await shop.start(broker, Settings(common=ServiceSettings(broker=url)))
        for _ in range(WARM_UP):
            await shop.publish_all(events[:BATCH])
        before = await held(broker)
        started = perf_counter()
        for start in range(0, count, BATCH):
            await shop.publish_all(events[start : start + BATCH])
        seconds = perf_counter() - started
        done = await held(broker) - before
        await shop.stop()
        await broker.close()
    report(count, seconds, done=done)


async def held(broker: Broker) -> int:
    """How many messages the topic has."""
    return next(topic.messages for topic in await broker.topics() if topic.name == "orders")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
