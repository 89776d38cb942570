"""By hand on redis: read a batch of all streams as a group, decode, await the handler, and acknowledge the batch.

The acknowledgements of a batch and the request for the next one travel together.
"""

# The driver is typed in part only.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import sys
from time import perf_counter
from typing import cast
from uuid import uuid4

import msgspec
from redis.asyncio import Redis

from benchmarks.measure import report
from benchmarks.order import Order

PARTITIONS = 8
SHARE = 200
"""Messages of one stream that are read at once."""
STREAMS = tuple(f"antiphon:log:orders:{number}" for number in range(PARTITIONS))

Entries = list[tuple[bytes, dict[bytes, bytes]]]

decode = msgspec.json.Decoder(Order).decode
handled, began = 0, 0.0


async def handle(order: Order) -> None:
    global handled, began  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == 1:
        began = perf_counter()


async def step(server: Redis, group: str, done: dict[bytes, list[bytes]]) -> dict[bytes, list[bytes]]:
    """Acknowledge what is done, and handle what comes; returns the ids of that, by stream."""
    pipeline, reading = server.pipeline(transaction=False), ("GROUP", group, "twin", "COUNT", SHARE)
    for stream, ids in done.items():
        pipeline.execute_command("XACK", stream, group, *ids)
    pipeline.execute_command("XREADGROUP", *reading, "STREAMS", *STREAMS, *[">"] * PARTITIONS)
    found = cast("list[tuple[bytes, Entries]]", (await pipeline.execute())[-1])
    taken: dict[bytes, list[bytes]] = {}
    for stream, entries in found:
        for _, fields in entries:
            if fields[b"ce_type"] == b"OrderPlaced":
                await handle(decode(fields[b"data"]))
        taken[stream] = [id for id, _ in entries]
    return taken


async def main(count: int, url: str) -> None:
    server, group = Redis.from_url(url), f"twin-{uuid4().hex[:12]}"
    for stream in STREAMS:
        await server.xgroup_create(stream, group, "0")
    done: dict[bytes, list[bytes]] = {}
    while handled < count:
        done = await step(server, group, done)
    for finished, ids in done.items():
        await server.xack(finished, group, *ids)
    seconds = perf_counter() - began
    pending = sum([int((await server.xpending(stream, group))["pending"]) for stream in STREAMS])
    await server.aclose()
    report(count, seconds, done=handled - pending)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
