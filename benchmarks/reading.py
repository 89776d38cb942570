"""Ours of every `-consume` measurement on a server: a service with a typed no-op handler, at least once, metrics on.

Its arguments are how many orders the topic holds, and the broker's URL. Each run is a group of its own, which reads all
of them; the clock runs from the first order that is handled until the service has left with everything committed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from uuid import uuid4

from antiphon import Service, connect
from antiphon.runtime.settings import ServiceSettings, Settings
from benchmarks.events import OrderPlaced
from benchmarks.measure import report


class Reading:
    """What was handled, and since when."""

    def __init__(self, count: int) -> None:
        self.count, self.handled, self.began = count, 0, 0.0
        self.everything = asyncio.Event()

    def reader(self, group: str, store: Path) -> Service:
        """A service that handles orders."""
        shop = Service(group, store=f"sqlite:///{store}")

        @shop.on(OrderPlaced)
        async def handle(order: OrderPlaced) -> None:
            self.handled += 1
            if self.handled == self.count:
                self.everything.set()
            elif self.handled == 1:
                self.began = perf_counter()

        return shop


def new_group() -> str:
    """A group that has read nothing."""
    return f"shop-{uuid4().hex[:12]}"


async def read_all(count: int, url: str, group: str) -> None:
    """Read so many orders, and report."""
    broker, reading = connect(url), Reading(count)
    with TemporaryDirectory() as folder:
        shop = reading.reader(group, Path(folder) / "shop.db")
        await shop.start(broker, Settings(common=ServiceSettings(broker=url)))
        await reading.everything.wait()
        await shop.stop()
        seconds = perf_counter() - reading.began
        left = sum(lag.messages for lag in await broker.lag(group))
        await broker.close()
    report(count, seconds, done=reading.handled - left)


if __name__ == "__main__":
    asyncio.run(read_all(int(sys.argv[1]), sys.argv[2], new_group()))
