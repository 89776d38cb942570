"""An application that publishes the load: what is due at a beat, as one batch."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from antiphon import Service, connect
from antiphon.runtime.settings import ServiceSettings, Settings
from benchmarks.data import orders
from benchmarks.events import OrderPlaced
from benchmarks.kafka_latency.load import PROBE, Load


async def main(load: Load, url: str) -> None:
    events = [msgspec.json.decode(data, type=OrderPlaced) for data in orders(load.count)]
    with TemporaryDirectory() as folder:
        broker, till = connect(url), Service("till", store=f"sqlite:///{Path(folder) / 'till.db'}")
        await till.start(broker, Settings(common=ServiceSettings(broker=url)))
        await till.publish(msgspec.json.decode(PROBE, type=OrderPlaced))  # so that it is connected
        sending = [asyncio.create_task(till.publish_all(events[due.start : due.stop])) async for due in load.beats()]
        await asyncio.gather(*sending)
        await till.stop()
        await broker.close()


if __name__ == "__main__":
    asyncio.run(main(Load.of(float(sys.argv[1])), sys.argv[2]))
