"""By hand on nats-py: pull a batch, look at the type, decode, await the handler, and acknowledge the batch at once.

The next batch is asked for while one is handled. One acknowledgement covers all before it, and the server confirms it.
"""

# The driver is typed in part only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import sys
from time import perf_counter
from uuid import uuid4

import msgspec
import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.measure import report
from benchmarks.order import Order

BATCH = 4_000

decode = msgspec.json.Decoder(Order).decode
handled, began = 0, 0.0


async def handle(order: Order) -> None:
    global handled, began  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == 1:
        began = perf_counter()


async def consume(batches: JetStreamContext.PullSubscription, count: int) -> None:
    """Until `count` were handled."""
    coming = asyncio.create_task(batches.fetch(BATCH))
    while handled < count:
        batch: list[Msg] = await coming
        if handled + len(batch) < count:
            coming = asyncio.create_task(batches.fetch(BATCH))
        for message in batch:
            if (message.headers or {}).get("ce-type") == "OrderPlaced":
                await handle(decode(message.data))
        await batch[-1].ack_sync()


async def main(count: int, url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    config = ConsumerConfig(ack_policy=AckPolicy.ALL, max_ack_pending=4 * BATCH)
    durable = f"twin-{uuid4().hex[:12]}"
    batches = await stream.pull_subscribe("", durable=durable, stream="orders", config=config)
    await consume(batches, count)
    seconds = perf_counter() - began
    left = await batches.consumer_info()
    await client.close()
    report(count, seconds, done=handled - (left.num_pending or 0) - (left.num_ack_pending or 0))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
