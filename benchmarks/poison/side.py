"""A service over the embedded log whose handler rejects one order of a hundred, or none; each order has its own key."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from msgspec.structs import replace

from antiphon import RejectError, Service, Transaction, connect
from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.events.message import Outgoing
from antiphon.storage.dead_letters import count as count_parked
from benchmarks.events import OrderPlaced, PaymentAuthorised
from benchmarks.filling import BATCH, messages
from benchmarks.measure import report

COUNTS = {"plain": 200_000, "effects": 50_000}
EACH = 100
"""One of so many is rejected."""

shop = Service("shop", migrations="migrations")
everything = asyncio.Event()
left = 0


def is_bad(order: OrderPlaced) -> bool:
    return order.customer.int % EACH == 0


def note(order: OrderPlaced, poisoned: bool) -> None:
    global left  # noqa: PLW0603  # the shortest counter there is
    left -= 1
    if left == 0:
        everything.set()
    if poisoned and is_bad(order):
        raise RejectError("it is of the hundredth customer")


def declare(kind: str, poisoned: bool) -> None:
    """The handler of this run."""
    if kind == "plain":

        @shop.on(OrderPlaced)
        async def look(order: OrderPlaced) -> None:
            note(order, poisoned)

    else:

        @shop.on(OrderPlaced)
        async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
            pence = int(order.total * 100)
            await tx.execute("insert into ledger (order_id, pence) values (?, ?)", order.order_id, pence)
            note(order, poisoned)
            return PaymentAuthorised(order.order_id, pence)


def own_keys(count: int) -> Iterator[Outgoing]:
    """The orders, each with a key of its own, so that none waits behind a rejected one."""
    for number, (topic, message) in enumerate(messages(count)):
        yield Outgoing(topic, replace(message, key=f"order-{number}"))


async def fill(broker: Broker, count: int) -> None:
    orders = own_keys(count)
    while batch := list(islice(orders, BATCH)):
        await broker.publish(batch)


async def main(kind: str, poisoned: bool) -> None:
    global left  # noqa: PLW0603
    count = left = COUNTS[kind]
    declare(kind, poisoned)
    logging.disable(logging.CRITICAL)  # both sides alike: what is measured is handling
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        assert isinstance(broker, StoreBroker)
        await broker.open()
        await fill(broker, count)
        started = perf_counter()
        await shop.start(broker)
        await everything.wait()
        await shop.stop()
        seconds = perf_counter() - started
        unread = sum(lag.messages for lag in await broker.lag("shop"))
        parked = await count_parked(broker.database)
        await broker.close()
    expected = count // EACH if poisoned else 0
    if parked != expected:
        raise SystemExit(f"{parked} of {expected} were parked")
    report(count - parked, seconds, done=count - unread - parked)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] == "poisoned"))
