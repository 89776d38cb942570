"""By hand on aio-pika: quorum queues, each with one active reader, whose messages are handled in their order.

What came is handled one after another and acknowledged together: an acknowledgement covers all before it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from time import perf_counter
from uuid import uuid4

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from antiphon.brokers.placement import hash_of_key
from benchmarks.data import key_of, order_json
from benchmarks.measure import report
from benchmarks.order import Order

QUEUES, PREFETCH, TOGETHER, IN_FLIGHT = 8, 1_000, 500, 500
ARGUMENTS: dict[str, aio_pika.abc.FieldValue] = {"x-queue-type": "quorum", "x-single-active-consumer": True}

decode = msgspec.json.Decoder(Order).decode
handled, began = 0, 0.0


async def handle(order: Order) -> None:
    global handled, began  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == 1:
        began = perf_counter()


async def declare(channel: AbstractChannel) -> Sequence[AbstractQueue]:
    """One queue for each partition."""
    group = f"twin-{uuid4().hex[:12]}"
    names = [f"{group}/{number}" for number in range(QUEUES)]
    return [await channel.declare_queue(name, durable=True, arguments=ARGUMENTS) for name in names]


async def fill(channel: AbstractChannel, queues: Sequence[AbstractQueue], count: int) -> None:
    """Put so many orders into the queues; preparation, not measured."""

    async def publish(number: int) -> None:
        message = aio_pika.Message(order_json(number), type="OrderPlaced", delivery_mode=2, message_id=str(number))
        queue = queues[hash_of_key(key_of(number)) % QUEUES]
        await channel.default_exchange.publish(message, queue.name)

    for first in range(0, count, IN_FLIGHT):
        await asyncio.gather(*(publish(number) for number in range(first, min(first + IN_FLIGHT, count))))


async def consume(queues: Sequence[AbstractQueue], count: int) -> None:
    """Until `count` were handled."""
    came: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def take(message: AbstractIncomingMessage) -> None:
        came.put_nowait(message)

    for queue in queues:
        await queue.consume(take)
    unacknowledged = 0
    while handled < count:
        message = await came.get()
        if message.type == "OrderPlaced":
            await handle(decode(message.body))
        unacknowledged += 1
        if unacknowledged == TOGETHER or came.empty():
            await message.ack(multiple=True)
            unacknowledged = 0


async def main(count: int, url: str) -> None:
    connection = await aio_pika.connect(url.replace("rabbitmq:", "amqp:"))
    async with connection:
        writing = await connection.channel()
        queues = await declare(writing)
        await fill(writing, queues, count)
        reading = await connection.channel()
        await reading.set_qos(PREFETCH)
        await consume([await reading.get_queue(queue.name) for queue in queues], count)
        await reading.close()
        seconds = perf_counter() - began
        left = [(await writing.declare_queue(queue.name, passive=True)).declaration_result for queue in queues]
    report(count, seconds, done=handled - sum([queue.message_count or 0 for queue in left]))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
