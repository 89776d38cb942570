"""The services that move, and who publishes to them, as processes: `ROLE BROKER STORE`, with RUN in the environment.

Orders are billed and shipped by key, and counted by another group; visits have no key. Until the services are mended,
one customer's orders are put off and one order is given up, and what follows of these customers waits behind them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

from antiphon import Key, RejectError, Retry, Service, Struct, Transaction, connect, event, run
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer

RUN = os.environ["RUN"]
"""In the names of topics and groups, so that no other run on the same server has them."""
CUSTOMERS = ("late", "wrong", *(f"customer-{number}" for number in range(10)))
EFFECT = "insert into effects (service, customer, what) values (?, ?, ?)"
_POLICY = Retry(immediate=0, delayed=1_000, first_delay=timedelta(seconds=1), factor=1, jitter=False)


@event(topic=f"orders-{RUN}")
class OrderPlaced(Struct, frozen=True):
    customer: Key[str]
    what: int


@event(topic=f"bills-{RUN}")
class OrderBilled(Struct, frozen=True):
    customer: Key[str]
    what: int


@event(topic=f"visits-{RUN}")
class PageVisited(Struct, frozen=True):
    what: int


def services(store: str, *, mended: bool) -> Sequence[Service]:
    """All of them, with their tables in `store`."""
    billing, counting, shipping, visits = (
        Service(f"{name}-{RUN}", migrations="migrations", store=store, policy=_POLICY)
        for name in ("billing", "counting", "shipping", "visits")
    )

    @billing.on(OrderPlaced)
    async def bill(order: OrderPlaced, tx: Transaction) -> OrderBilled:
        time.sleep(0.002)  # noqa: ASYNC251 - it keeps its process busy
        if not mended and order.customer == "late" and order.what >= 5:
            raise ValueError("not yet")
        if not mended and order.customer == "wrong" and order.what == 7:
            raise RejectError("never so")
        await tx.execute(EFFECT, "billing", order.customer, order.what)
        return OrderBilled(order.customer, order.what)

    @counting.on(OrderPlaced)
    async def count(order: OrderPlaced, tx: Transaction) -> None:
        time.sleep(0.001)  # noqa: ASYNC251 - it keeps its process busy
        await tx.execute(EFFECT, "counting", order.customer, order.what)

    @shipping.on(OrderBilled)
    async def ship(bill: OrderBilled, tx: Transaction) -> None:
        await tx.execute(EFFECT, "shipping", bill.customer, bill.what)

    @visits.on(PageVisited)
    async def visit(visited: PageVisited, tx: Transaction) -> None:
        time.sleep(0.002)  # noqa: ASYNC251 - it keeps its process busy
        await tx.execute(EFFECT, "visits", "", visited.what)

    return billing, counting, shipping, visits


async def publish(broker: str, begin: int, end: int) -> None:
    """An order of each customer and a visit for each number, a batch at a time, some thousand messages a second."""
    opened, composer = connect(broker), Composer("shop", SystemClock())
    await opened.open()
    for number in range(begin, end):
        events = [*(OrderPlaced(customer, number) for customer in CUSTOMERS), PageVisited(number)]
        await opened.publish([composer.first(each) for each in events])
        await asyncio.sleep(0.01)
    await opened.close()


if __name__ == "__main__":
    role, url, *rest = sys.argv[1:]
    if role == "publish":
        asyncio.run(publish(url, int(rest[0]), int(rest[1])))
    else:
        run(*services(rest[0], mended=role == "serve-mended"), broker=url)
