"""FastStream reads Kafka by a group with a typed no-op handler, in one of two ways, each on its faster client.

`committing`: at least once, as ours; each message is committed when it was handled; on confluent-kafka. `fastest`: it
commits what it received, so that a crash loses messages; on aiokafka. Either handles some of what the topic holds; the
clock runs from the first one.
"""

import asyncio
import json
import logging
import sys
from datetime import datetime
from decimal import Decimal
from time import perf_counter
from uuid import UUID, uuid4

from faststream import AckPolicy
from faststream.confluent import KafkaBroker as ConfluentBroker
from faststream.kafka import KafkaBroker as AioBroker
from pydantic import BaseModel

COUNTS = {"committing": 5_000, "fastest": 20_000}


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


async def main(way: str, url: str) -> None:
    logging.disable()
    count, address = COUNTS[way], url.removeprefix("kafka://")
    handled, began, everything = 0, 0.0, asyncio.Event()
    broker = ConfluentBroker(address, logger=None) if way == "committing" else AioBroker(address, logger=None)
    policy = AckPolicy.NACK_ON_ERROR if way == "committing" else AckPolicy.ACK_FIRST

    @broker.subscriber("orders", group_id=uuid4().hex, auto_offset_reset="earliest", ack_policy=policy)
    async def handle(order: Order) -> None:
        nonlocal handled, began
        handled += 1
        if handled == 1:
            began = perf_counter()
        elif handled == count:
            everything.set()

    await broker.start()
    await everything.wait()
    seconds = perf_counter() - began
    await broker.stop()
    print(json.dumps({"value": count / seconds, "seconds": seconds}))


asyncio.run(main(*sys.argv[1:]))
