"""By hand on aio-pika: the same streams, one reader, whose positions are written to a stream of its own.

What came is handled one after another and acknowledged together; then the position of each stream is written down, and
the server's confirm awaited.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from time import perf_counter
from uuid import uuid4

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from benchmarks.measure import report
from benchmarks.order import Order

STREAMS, PREFETCH, TOGETHER = 8, 1_000, 500
ARGUMENTS: dict[str, aio_pika.abc.FieldValue] = {"x-queue-type": "stream"}
FROM_THE_FIRST: dict[str, aio_pika.abc.FieldValue] = {"x-stream-offset": "first"}

decode = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode
handled, began = 0, 0.0


async def handle(order: Order) -> None:
    global handled, began  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == 1:
        began = perf_counter()


async def consume(reading: AbstractChannel, writing: AbstractChannel, positions: str, count: int) -> None:
    """Until `count` were handled, and where that is was written down."""
    came: asyncio.Queue[tuple[int, AbstractIncomingMessage]] = asyncio.Queue()
    for number in range(STREAMS):
        stream = await reading.get_queue(f"antiphon:log/orders/{number}")

        async def take(message: AbstractIncomingMessage, number: int = number) -> None:
            came.put_nowait((number, message))

        await stream.consume(take, arguments=FROM_THE_FIRST)
    reached = [0] * STREAMS
    unacknowledged = 0
    while handled < count:
        number, message = await came.get()
        if message.headers["cloudEvents:type"] == "OrderPlaced":
            await handle(decode(message.body))
        offset = message.headers["x-stream-offset"]
        assert isinstance(offset, int)
        reached[number] = offset + 1
        unacknowledged += 1
        if unacknowledged == TOGETHER or handled == count:
            await message.ack(multiple=True)
            await keep(writing, positions, reached)
            unacknowledged = 0


async def keep(writing: AbstractChannel, positions: str, reached: Sequence[int]) -> None:
    await writing.default_exchange.publish(aio_pika.Message(encode(reached), delivery_mode=2), positions)


async def main(count: int, url: str) -> None:
    connection = await aio_pika.connect(url.replace("rabbitmq-streams:", "amqp:"))
    async with connection:
        writing, reading = await connection.channel(), await connection.channel()
        positions = await writing.declare_queue(f"twin-{uuid4().hex[:12]}", durable=True, arguments=ARGUMENTS)
        await reading.set_qos(PREFETCH)
        await consume(reading, writing, positions.name, count)
        await reading.close()
        seconds = perf_counter() - began
    report(count, seconds, done=handled)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
