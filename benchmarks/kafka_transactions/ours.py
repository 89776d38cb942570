"""A service that answers each order with a payment, effectively once through the cluster's own transactions.

The clock runs from the order after the first WARM_UP until the last payment and the group's positions are committed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon import Service, connect
from antiphon.brokers.ports import Broker
from antiphon.runtime.settings import ServiceSettings, Settings
from benchmarks.events import OrderPlaced, PaymentAuthorised
from benchmarks.hand_kafka import PAYMENTS, ends, read_since, reader
from benchmarks.kafka_transactions.twin import WARM_UP
from benchmarks.measure import report
from benchmarks.reading import Reading, new_group


def authorising(group: str, store: Path, reading: Reading) -> Service:
    """A service with the one handler."""
    shop = Service(group, store=f"sqlite:///{store}")

    @shop.on(OrderPlaced, guarantee="effectively_once")
    async def authorise(order: OrderPlaced) -> PaymentAuthorised:
        reading.handled += 1
        if reading.handled == reading.count:
            reading.everything.set()
        elif reading.handled == WARM_UP:
            reading.began = perf_counter()
        return PaymentAuthorised(order.order_id, int(order.total * 100))

    return shop


async def main(count: int, url: str) -> None:
    broker, reading, group = connect(url), Reading(count), new_group()
    looker = reader(url)
    before = ends(looker, PAYMENTS)
    with TemporaryDirectory() as folder:
        shop = authorising(group, Path(folder) / "shop.db", reading)
        await shop.start(broker, Settings(common=ServiceSettings(broker=url)))
        await reading.everything.wait()
        await shop.stop()
        seconds = perf_counter() - reading.began
        left = await _left(broker, group)
        await broker.close()
    done = read_since(looker, PAYMENTS, before) - left
    report(count - WARM_UP, seconds, done=done - WARM_UP)


async def _left(broker: Broker, group: str) -> int:
    return sum(lag.messages for lag in await broker.lag(group))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
