"""FastStream reads a JetStream by a durable pull consumer with a typed no-op handler, and acknowledges each message.

It handles some of what the stream holds; the clock runs from the first one.
"""

import asyncio
import json
import logging
import sys
from datetime import datetime
from decimal import Decimal
from time import perf_counter
from uuid import UUID, uuid4

from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel

BATCH = 100


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
    broker, everything = NatsBroker(url, logger=None), asyncio.Event()
    handled, began = 0, 0.0

    @broker.subscriber(
        "orders.*",
        durable=uuid4().hex,
        stream=JStream("orders", declare=False),
        pull_sub=PullSub(batch_size=BATCH),
    )
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


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
