"""FastStream's consume path: Kafka records into the subscriber of its own test broker, a typed no-op handler."""

import asyncio
import json
import logging
from datetime import datetime
from decimal import Decimal
from time import perf_counter
from uuid import UUID

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker, TestKafkaBroker
from pydantic import BaseModel

from benchmarks.data import key_of, order_json

COUNT = 20_000


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


broker = KafkaBroker(logger=None)
handled = 0


@broker.subscriber("orders")
async def handle(order: Order) -> None:
    global handled
    handled += 1


def record(number: int) -> ConsumerRecord:
    body = order_json(number)
    key = key_of(number).encode()
    return ConsumerRecord(
        topic="orders",
        partition=0,
        offset=number,
        timestamp=1_773_500_000_000,
        timestamp_type=1,
        key=key,
        value=body,
        checksum=None,
        serialized_key_size=len(key),
        serialized_value_size=len(body),
        headers=[("content-type", b"application/json"), ("correlation_id", str(number).encode())],
    )


async def main() -> None:
    logging.disable()
    records = [record(number) for number in range(COUNT)]
    async with TestKafkaBroker(broker):
        consume = broker.subscribers[0].consume
        started = perf_counter()
        for each in records:
            await consume(each)
        seconds = perf_counter() - started
    assert handled == COUNT, handled
    print(json.dumps({"value": COUNT / seconds, "seconds": seconds}))


asyncio.run(main())
