"""The shop's services as `antiphon run` runs them, each in a process of its own on one file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon.brokers.embedded import EmbeddedBroker
from benchmarks.measure import ROOT, report
from benchmarks.shop.twin import BATCH, COUNT, ENDED, taken
from examples.shop.audit import read_ledgers
from examples.shop.processes import SERVICES
from examples.shop.storefront.feed import Storefront
from examples.shop.verdict import judge
from examples.shop.watch import Lags

LONGEST_SECONDS = 60
HANDLED = "select count(*) from antiphon_inbox"


def start(broker: EmbeddedBroker, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "antiphon", "run", f"examples.shop.{name}.service", "--broker", broker.url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONGEST_SECONDS):
        while not await holds():  # noqa: ASYNC110 - other processes are watched, which set no event here
            await asyncio.sleep(0.02)


async def sell(broker: EmbeddedBroker, storefront: Storefront) -> tuple[int, float]:
    """Stock the shop, then sell; returns how many events were handled meanwhile, in how many seconds."""
    orders, demand = taken()
    lags = Lags(broker)
    await storefront.deliver(demand.goods())
    await until(lags.look)
    [before] = await broker.database.fetch(HANDLED, row=int)
    started = perf_counter()
    for first in range(0, COUNT, BATCH):
        await storefront.place(orders[first : first + BATCH])

    async def have_ended() -> bool:
        [ended] = await broker.database.fetch(ENDED, row=int)
        return ended == COUNT

    await until(have_ended)
    await until(lags.look)
    seconds = perf_counter() - started
    [after] = await broker.database.fetch(HANDLED, row=int)
    return after - before, seconds


async def main() -> None:
    with TemporaryDirectory() as folder:
        broker = EmbeddedBroker(Path(folder) / "shop.db")
        await broker.open()
        storefront = Storefront(broker, twice_every=0)
        await storefront.open()
        services = [start(broker, name) for name in SERVICES]
        try:
            handled, seconds = await sell(broker, storefront)
        finally:
            for service in services:
                service.terminate()
            for service in services:
                service.wait()
        verdict = judge(await read_ledgers(broker.database))
        await broker.close()
    report(handled, seconds, done=handled if verdict.is_good else 0)


if __name__ == "__main__":
    asyncio.run(main())
