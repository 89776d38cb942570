"""A service starts on a log in which a million messages wait, and looks at its own memory while it works them off.

The log is filled by another process, so that nothing of the filling is left in this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon import Service, connect
from benchmarks.events import OrderPlaced
from benchmarks.filling import fill

COUNT = 1_000_000
PAGE = os.sysconf("SC_PAGE_SIZE")

shop = Service("shop")
everything = asyncio.Event()
resident: list[float] = []
handled = 0


def look_at_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    resident.append(pages * PAGE / 1e6)


@shop.on(OrderPlaced)
async def handle(order: OrderPlaced) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled % 10_000 == 0:
        look_at_memory()
    if handled == COUNT:
        everything.set()


async def fill_log(url: str) -> None:
    broker = connect(url)
    await broker.open()
    await fill(broker, COUNT)
    await broker.close()


async def consume(url: str) -> float:
    broker = connect(url)
    await broker.open()
    started = perf_counter()
    await shop.start(broker)
    await everything.wait()
    await shop.stop()
    seconds = perf_counter() - started
    await broker.close()
    return seconds


def main() -> None:
    with TemporaryDirectory() as folder:
        url = f"embedded:///{Path(folder) / 'log.db'}"
        subprocess.run([sys.executable, "-m", "benchmarks.backlog_memory.ours", url], check=True)
        seconds = asyncio.run(consume(url))
    quarter = len(resident) // 4
    growth = mean(resident[-quarter:]) / mean(resident[:quarter])
    print(json.dumps({"value": max(resident), "growth": growth, "rate": COUNT / seconds, "seconds": seconds}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(fill_log(sys.argv[1]))
    else:
        main()
