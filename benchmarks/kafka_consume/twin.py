"""By hand: take what the driver has, look at the type, decode, await the handler; then let the driver commit it.

Its first argument is how many orders there are, the second how long the driver rests when it has read far ahead. The
driver commits in the background, and the last time is waited for: nothing is committed before it is handled.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

import msgspec

from benchmarks.hand_kafka import committed, reader, type_of
from benchmarks.measure import report
from benchmarks.order import Order

BATCH = 1_000

decode = msgspec.json.Decoder(Order).decode
handled = 0


async def handle(order: Order) -> None:
    global handled  # noqa: PLW0603  # the shortest counter there is
    handled += 1


async def main(count: int, room: int, url: str) -> None:
    consumer, began = reader(url, **{"fetch.queue.backoff.ms": room}), 0.0
    consumer.subscribe(["orders"])
    while handled < count:
        messages = consumer.consume(BATCH, 0.1)
        began = began or (perf_counter() if messages else 0.0)
        for message in messages:
            if message.error() is None and type_of(message) == b"OrderPlaced":
                await handle(decode(message.value() or b""))
        if messages:
            consumer.commit(asynchronous=True)
    consumer.commit(asynchronous=False)
    seconds = perf_counter() - began
    done = min(handled, committed(consumer, "orders"))
    began = perf_counter()
    consumer.close()
    report(count, seconds + perf_counter() - began, done=done)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
