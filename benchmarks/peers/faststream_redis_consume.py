"""FastStream reads a Redis stream as a group with a typed no-op handler, and acknowledges each message.

It reads many at once and handles one after another. Its messages are those that it writes itself, put there before.
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
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

from benchmarks.data import orders

AT_ONCE = 500


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
    broker, everything = RedisBroker(url, logger=None), asyncio.Event()
    stream, handled, began = f"orders-{uuid4().hex}", 0, 0.0

    @broker.subscriber(
        stream=StreamSub(stream, group="fast", consumer="stream", last_id="0", max_records=AT_ONCE),
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def handle(order: Order) -> None:
        nonlocal handled, began
        handled += 1
        if handled == 1:
            began = perf_counter()
        elif handled == count:
            everything.set()

    await broker.connect()
    for data in orders(count):
        await broker.publish(json.loads(data), stream=stream)
    await broker.start()
    await everything.wait()
    seconds = perf_counter() - began
    await broker.stop()
    print(json.dumps({"value": count / seconds, "seconds": seconds}))


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
