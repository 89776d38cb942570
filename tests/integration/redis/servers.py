"""A server of one's own for a test that harms it, and what is published to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from antiphon.brokers.ports import Broker, Delivery, LogSubscription, Partition
from antiphon.errors import ConnectionLostError
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing

T = TypeVar("T")
ROOM = 1 << 26
SECOND = timedelta(seconds=1)


def numbered(count: int, *, keys: int = 4, topic: str = "orders", size: int = 0) -> list[Outgoing]:
    """Messages with their number as data, taking turns over some keys."""
    return [
        Outgoing(
            topic,
            Message(new_id(), "OrderPlaced", datetime.now(UTC), f"{n}".encode().ljust(size, b" "), f"k{n % keys}", "s"),
        )
        for n in range(count)
    ]


def ids(found: Sequence[Outgoing | Delivery]) -> list[str]:
    return [each.message.id for each in found]


def watermarks(deliveries: Sequence[Delivery]) -> dict[Partition, str]:
    return {delivery.partition: delivery.position for delivery in deliveries}


async def persistently(broker: Broker, outgoing: Sequence[Outgoing]) -> None:
    """Publish as a relay does: again, while the server is away."""
    await _persistently(lambda: broker.publish(outgoing))


async def _persistently(work: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await work()
        except ConnectionLostError:
            await asyncio.sleep(0.05)


async def read(
    subscription: LogSubscription, enough: Callable[[list[Delivery]], bool], *, commit: bool = True
) -> list[Delivery]:
    """Fetch and commit as a service does, over all that passes, until there is enough."""
    found: list[Delivery] = []
    async with asyncio.timeout(30):
        while not enough(found):
            subscription.notices()
            deliveries = await _persistently(lambda: subscription.fetch(1000, ROOM, SECOND / 5))
            found += deliveries
            if commit and deliveries:
                await _persistently(partial(subscription.commit, watermarks(deliveries)))
    return found


def has_all(sent: Sequence[Outgoing]) -> Callable[[list[Delivery]], bool]:
    """Whether everything came, however often."""
    wanted = set(ids(sent))
    return lambda found: wanted <= set(ids(found))


def each_key_is_in_order(found: Sequence[Delivery], sent: Sequence[Outgoing]) -> bool:
    """Whether the messages of each key came for the first time in the order of their publishing."""
    place = {id: number for number, id in enumerate(ids(sent))}
    seen: set[str] = set()
    last: dict[str | None, int] = {}
    for message in (each.message for each in found):
        if message.id in seen:
            continue
        seen.add(message.id)
        if place[message.id] < last.get(message.key, -1):
            return False
        last[message.key] = place[message.id]
    return True
