"""A redrive of dead letters, each with a key of its own, that a running service with a no-op handler takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon import Message, Service, connect
from antiphon.brokers.ports import StoreBroker
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import DeadLetter, find, park
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import Attempt
from benchmarks.data import order_json
from benchmarks.events import OrderPlaced
from benchmarks.measure import report

COUNT, BATCH = 50_000, 1_000

shop = Service("shop")
everything = asyncio.Event()
handled = 0


@shop.on(OrderPlaced)
async def handle(order: OrderPlaced) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == COUNT:
        everything.set()


def letters(count: int) -> Iterator[DeadLetter]:
    """Orders that were given up after one attempt."""
    now = SystemClock().now()
    attempts = (Attempt(now, "ValueError", "no such order", "Traceback (most recent call last): ..."),)
    for number in range(count):
        key = f"order-{number}"
        yield DeadLetter(
            message=Message(new_id(), "OrderPlaced", now, order_json(number), key, source="shop"),
            topic="orders",
            partition=number % 8,
            position=str(number),
            service="shop",
            handler="handle",
            attempts=attempts,
            reason="ValueError",
            fingerprint="a1b2c3d4e5f6",
            code_version="1",
            parked_at=now,
            lane=key,
        )


async def fill(store: Database, count: int) -> None:
    left = letters(count)
    while batch := list(islice(left, BATCH)):
        async with store.transaction() as tx:
            await park(tx, batch)


async def main() -> None:
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        assert isinstance(broker, StoreBroker)
        await broker.open()
        await fill(broker.database, COUNT)
        await shop.start(broker)
        numbers = [one.number for one in await find(broker.database, LetterQuery(), COUNT)]
        started = perf_counter()
        await start_redrive(broker.database, SystemClock(), numbers, Pace(spacing=timedelta()), "benchmark")
        await everything.wait()
        await shop.stop()
        seconds = perf_counter() - started
        left = await broker.database.fetch("select count(*) from antiphon_set_aside", row=int)
        await broker.close()
    report(COUNT, seconds, done=handled - left[0])


if __name__ == "__main__":
    asyncio.run(main())
