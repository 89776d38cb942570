"""How the logs that ours reads are filled; preparation, not measured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from antiphon import Message
from antiphon.brokers.ports import Broker
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Outgoing
from benchmarks.data import key_of, order_json

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
