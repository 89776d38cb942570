"""A service that one of its messages kills, as a fault in a driver written in C would."""

from __future__ import annotations

import os
import signal
import sys

from antiphon import Key, Service, Struct, Transaction, event, run


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


def declare(way: str) -> Service:
    """The service, its handler in one of the ways of handling."""
    service = Service("deadly", migrations="deadly_migrations")

    async def enter(order: OrderPlaced, tx: Transaction) -> None:
        _die_of(order)
        await tx.execute("insert into entries (order_id) values (?)", order.order_id)

    async def enter_apart(order: OrderPlaced) -> None:
        _die_of(order)
        async with service.store.transaction() as tx:
            await tx.execute("insert into entries (order_id) values (?)", order.order_id)

    def look(order: OrderPlaced) -> None:
        _die_of(order)

    if way == "shared":
        service.on(OrderPlaced)(enter)
    elif way == "own":
        service.on(OrderPlaced, transaction="own")(enter)
    elif way == "await":
        service.on(OrderPlaced)(enter_apart)
    else:
        service.on(OrderPlaced)(look)
    return service


def _die_of(order: OrderPlaced) -> None:
    if order.order_id.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGSEGV)


if __name__ == "__main__":
    run(declare(sys.argv[2]), broker=sys.argv[1])
