"""What the tests of faults send, and how they read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from antiphon.brokers.ports import DONE, Broker, Delivery, QueueSubscription, Settlement
from antiphon.errors import BrokerError
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing

ROOM = 1 << 26
PATIENCE = 30.0
SOON = timedelta(milliseconds=200)


def numbered(topic: str, numbers: range, keys: int = 8) -> list[Outgoing]:
    """Messages whose ids are their numbers, taking turns over so many keys."""
    return [
        Outgoing(topic, Message(f"{n:06}", "Counted", datetime.now(UTC), b"%d" % n, f"key-{n % keys}")) for n in numbers
    ]


def a_name(word: str) -> str:
    return f"{word}-{new_id()[-12:]}"


async def until(holds: Callable[[], bool]) -> None:
    """Return when it holds; fails when that takes too long."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - whatever is waited for rings no bell
            await asyncio.sleep(0.01)


async def publish_surely(broker: Broker, outgoing: Sequence[Outgoing]) -> None:
    """As an outbox does it: again and again, until it is confirmed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await broker.publish(outgoing)
                return
            except BrokerError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)


async def work(subscription: QueueSubscription, seen: list[Delivery], limit: int = 100) -> None:
    """Fetch and settle for good, as a service does it: what passes is waited for."""
    pending: list[Settlement] = []
    while True:
        try:
            if pending:
                await subscription.settle(pending)
                pending = []
            deliveries = await subscription.fetch(limit, ROOM, SOON)
        except BrokerError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(0.05)
            continue
        seen += deliveries
        pending = [Settlement(delivery, DONE) for delivery in deliveries]


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


def is_in_order(deliveries: Sequence[Delivery], keys: int = 8) -> bool:
    """Whether the first deliveries of each key came in the order of their publishing."""
    first = list(dict.fromkeys(int(id) for id in ids(deliveries)))
    return all((mine := [n for n in first if n % keys == key]) == sorted(mine) for key in range(keys))
