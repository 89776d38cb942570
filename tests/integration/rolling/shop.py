"""One instance of a shop in one of two versions, and its customers: `ROLE BROKER STORE`, with RUN in the environment.

The second version declares both events in a second version, with a field more. Until all instances of the first one are
gone, some bills are newer than the shipping that gets them: their partitions wait for an instance that knows them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from antiphon import Key, Service, Struct, Transaction, connect, event
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from antiphon.runtime.host import run_async
from antiphon.runtime.settings import load_settings

RUN = os.environ["RUN"]
"""In the names of topics and groups, so that no other run on the same server has them."""
CUSTOMERS = tuple(f"customer-{number}" for number in range(8))
AFTERWARDS = 60
"""How many orders each customer places in the second version of the event, once nobody needs the first one."""
EFFECT = "insert into effects (service, version, customer, what, published, handled) values (?, ?, ?, ?, ?, ?)"


class First:
    """The events as the first version of the code has them."""

    @event(topic=f"orders-{RUN}", name="OrderPlaced", version=1)
    class OrderPlaced(Struct, frozen=True):
        customer: Key[str]
        what: int
        published: float

    @event(topic=f"bills-{RUN}", name="OrderBilled", version=1)
    class OrderBilled(Struct, frozen=True):
        customer: Key[str]
        what: int
        published: float


class Second:
    """And as the second one has them."""

    @event(topic=f"orders-{RUN}", name="OrderPlaced", version=2)
    class OrderPlaced(Struct, frozen=True):
        customer: Key[str]
        what: int
        published: float
        channel: str = "shop"

    @event(topic=f"bills-{RUN}", name="OrderBilled", version=2)
    class OrderBilled(Struct, frozen=True):
        customer: Key[str]
        what: int
        published: float
        currency: str = "EUR"


def first(store: str) -> Sequence[Service]:
    """The services in their first version."""
    billing, shipping = _services(store)

    @billing.on(First.OrderPlaced)
    async def bill(order: First.OrderPlaced, tx: Transaction) -> First.OrderBilled:
        await _note(tx, "billing", 1, order)
        return First.OrderBilled(order.customer, order.what, order.published)

    @shipping.on(First.OrderBilled)
    async def ship(billed: First.OrderBilled, tx: Transaction) -> None:
        await _note(tx, "shipping", 1, billed)

    return billing, shipping


def second(store: str) -> Sequence[Service]:
    """The services in their second version."""
    billing, shipping = _services(store)

    @billing.on(Second.OrderPlaced)
    async def bill(order: Second.OrderPlaced, tx: Transaction) -> Second.OrderBilled:
        await _note(tx, "billing", 2, order)
        return Second.OrderBilled(order.customer, order.what, order.published)

    @shipping.on(Second.OrderBilled)
    async def ship(billed: Second.OrderBilled, tx: Transaction) -> None:
        await _note(tx, "shipping", 2, billed)

    return billing, shipping


def _services(store: str) -> tuple[Service, Service]:
    billing, shipping = (Service(f"{n}-{RUN}", store=store, migrations="migrations") for n in ("billing", "shipping"))
    return billing, shipping


Order = First.OrderPlaced | First.OrderBilled | Second.OrderPlaced | Second.OrderBilled


async def _note(tx: Transaction, service: str, version: int, of: Order) -> None:
    await tx.execute(EFFECT, service, version, of.customer, of.what, of.published, time.time())


async def buy(broker: str, deployed: Path) -> None:
    """An order of each customer 50 times a second; in the second version once the file `deployed` is there."""
    opened, composer = connect(broker), Composer("customers", SystemClock())
    await opened.open()
    what, left = 0, AFTERWARDS
    while left:
        is_second = deployed.exists()  # noqa: ASYNC240 - a glance
        left -= is_second
        placed = Second.OrderPlaced if is_second else First.OrderPlaced
        orders = [placed(customer, what, time.time()) for customer in CUSTOMERS]
        await opened.publish([composer.first(order) for order in orders])
        what += 1
        await asyncio.sleep(0.02)
    await opened.close()
    print(what)


if __name__ == "__main__":
    role, url, place = sys.argv[1:]
    if role == "buy":
        asyncio.run(buy(url, Path(place)))
    else:
        instance = {"first": first, "second": second}[role](place)
        asyncio.run(run_async(instance, load_settings({"broker": url}), lambda: print("ready", flush=True)))
