"""A service with a typed handler, which notes when each order came."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from antiphon import Service, connect
from antiphon.brokers.ports import Start
from antiphon.runtime.settings import ServiceSettings, Settings
from benchmarks.events import OrderPlaced
from benchmarks.kafka_latency.load import PROBE, PROBING, Arrivals, Load, begin_of, publisher
from benchmarks.reading import new_group

PROBE_EVENT = msgspec.json.decode(PROBE, type=OrderPlaced)


def noting(arrivals: Arrivals, store: Path) -> Service:
    """A service that reads what comes from now on."""
    shop = Service(new_group(), store=f"sqlite:///{store}", start=Start.END)

    @shop.on(OrderPlaced)
    async def note(order: OrderPlaced) -> None:
        arrivals.note(order.customer)

    return shop


async def read_all(rate: float, url: str) -> tuple[Arrivals, float]:
    """Start a publisher of such a load, and wait for all of it; when its first beat was due, too."""
    broker, arrivals = connect(url), Arrivals(Load.of(rate))
    with TemporaryDirectory() as folder:
        shop = noting(arrivals, Path(folder) / "shop.db")
        await shop.start(broker, Settings(common=ServiceSettings(broker=url)))
        while not arrivals.is_reading:
            await shop.publish(PROBE_EVENT)
            await asyncio.sleep(PROBING)
        begin = await asyncio.to_thread(begin_of, publisher("our_publisher", rate, url))
        await arrivals.everything.wait()
        await shop.stop()
        await broker.close()
    return arrivals, begin


async def main(rate: float, url: str) -> None:
    arrivals, begin = await read_all(rate, url)
    arrivals.report(begin)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2]))
