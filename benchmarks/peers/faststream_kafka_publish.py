"""FastStream publishes typed events with keys to Kafka, 500 in flight, each confirmed by all replicas.

On aiokafka, which is the faster of its clients here. Its batches have no keys, so they are not what the others do.
"""

import asyncio
import json
import logging
import sys
from datetime import datetime
from decimal import Decimal
from time import perf_counter
from uuid import UUID

from faststream.kafka import KafkaBroker
from pydantic import BaseModel

from benchmarks.data import orders

IN_FLIGHT = 500


class Line(BaseModel):
    sku: str
    quantity: int
    price: Decimal


class Order(BaseModel):
    order_id: str
    customer: UUID
    placed_at: datetime
    total: Decimal
    channel: str
    lines: list[Line]


async def main(count: int, url: str) -> None:
    logging.disable()
    events = [Order.model_validate_json(data) for data in orders(count)]
    async with KafkaBroker(
        url.removeprefix("kafka://"), acks="all", enable_idempotence=True, compression_type="lz4", logger=None
    ) as broker:
        await broker.start()

        async def publish(left):
            for event in left:
                await broker.publish(event, "orders", key=event.order_id.encode())

        await publish(iter(events[:IN_FLIGHT]))
        left = iter(events)
        started = perf_counter()
        await asyncio.gather(*(publish(left) for _ in range(IN_FLIGHT)))
        seconds = perf_counter() - started
    print(json.dumps({"value": count / seconds, "seconds": seconds}))


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
