"""How what is read is filled with orders; preparation, not measured.

As a program, with a count and a URL: fills a broker on a server, where payments have an empty topic.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import islice
from time import perf_counter

from antiphon import Message, connect
from antiphon.brokers.ports import Broker, TopicSpec
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Outgoing
from benchmarks.data import key_of, order_json
from benchmarks.measure import report

BATCH = 5_000


def messages(count: int) -> Iterator[Outgoing]:
    """`count` orders as messages of the shop."""
    now = SystemClock().now()
    for number in range(count):
        data, key = order_json(number), key_of(number)
        yield Outgoing("orders", Message(new_id(), "OrderPlaced", now, data, key, source="shop"))


async def fill(broker: Broker, count: int) -> None:
    """Publish `count` orders."""
    left = messages(count)
    while batch := list(islice(left, BATCH)):
        await broker.publish(batch)


async def main(count: int, url: str) -> None:
    broker, started = connect(url), perf_counter()
    await broker.open()
    for topic in ("orders", "payments"):
        await broker.ensure_topic(TopicSpec(topic))
    await fill(broker, count)
    held = sum(topic.messages for topic in await broker.topics())
    await broker.close()
    report(count, perf_counter() - started, done=held)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
