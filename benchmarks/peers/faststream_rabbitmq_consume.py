"""FastStream reads a quorum queue of RabbitMQ with a typed no-op handler, and acknowledges each message it handled."""

import asyncio
import json
import logging
import sys
from datetime import datetime
from decimal import Decimal
from time import perf_counter
from uuid import UUID, uuid4

from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from pydantic import BaseModel

from benchmarks.data import orders

PREFETCH, IN_FLIGHT = 1_000, 500


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
    address = url.replace("rabbitmq:", "amqp:")
    broker = RabbitBroker(address, default_channel=Channel(prefetch_count=PREFETCH), logger=None)
    queue, everything = RabbitQueue(f"orders-{uuid4().hex}", queue_type=QueueType.QUORUM, durable=True), asyncio.Event()
    handled, began = 0, 0.0

    @broker.subscriber(queue)
    async def handle(order: Order) -> None:
        nonlocal handled, began
        handled += 1
        if handled == 1:
            began = perf_counter()
        elif handled == count:
            everything.set()

    await broker.connect()
    await broker.declare_queue(queue)
    left = orders(count)

    async def publish() -> None:
        for data in left:
            await broker.publish(json.loads(data), queue)

    await asyncio.gather(*(publish() for _ in range(IN_FLIGHT)))
    await broker.start()
    await everything.wait()
    seconds = perf_counter() - began
    await broker.stop()
    print(json.dumps({"value": count / seconds, "seconds": seconds}))


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
