"""The process that is killed: services that fail for a while, or until they are mended, in every way of handling.

A few messages kill it from within, as a fault in a driver written in C would, each in one service of the three.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta

from antiphon import Delivery, Key, RejectError, Retry, Service, Struct, Transaction, event, run

ENTER = "insert into entries (service, order_id, step) values (?, ?, ?)"
STEPS = 3
POLICY = Retry(
    immediate=1, delayed=3, first_delay=timedelta(milliseconds=20), factor=2.0, permanent=(RejectError,), crashes=3
)
"""Of an innocent one it would take as many kills from outside in a row, each while it is attempted alone."""
ONCE = ("shared", "own")
"""Services whose entries are made with a transaction: once for each step, whatever is killed."""
EVERY = (*ONCE, "apart")
DEADLY_OF, DEADLY = 180, 11
"""Of so many orders one is deadly, the one of this number: each costs a handful of processes."""


@event(topic="orders")
class OrderTaken(Struct, frozen=True):
    """One step of an order; the steps of an order belong in their order."""

    order_id: Key[str]
    step: int


def is_shaky(order: OrderTaken) -> bool:
    """Whether this one fails at first, and succeeds at a delayed retry."""
    return order.order_id.endswith("3") and order.step == 1


def is_bad(order: OrderTaken) -> bool:
    """Whether this one is rejected until somebody has mended the handler."""
    return order.order_id.endswith("7") and order.step == 0


def is_deadly(order_id: str, step: int, service: str) -> bool:
    """Whether the process of this service dies of it until somebody has mended the handler."""
    group, number = divmod(int(order_id.removeprefix("order-")), DEADLY_OF)
    return (number, step, EVERY[group % len(EVERY)]) == (DEADLY, 1, service)


class Trouble:
    """The handlers of one service, and what goes wrong in them."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def enter(self, order: OrderTaken, delivery: Delivery, tx: Transaction) -> None:
        await tx.execute(ENTER, self.service.name, order.order_id, order.step)
        if is_shaky(order) and delivery.attempt < 3:
            raise ConnectionError("not yet")
        await self._go_wrong(order, tx)

    async def enter_apart(self, order: OrderTaken, delivery: Delivery) -> None:
        if is_shaky(order) and delivery.attempt < 3:
            raise ConnectionError("not yet")
        async with self.service.store.transaction() as tx:
            await self._go_wrong(order, tx)
            await tx.execute(ENTER, self.service.name, order.order_id, order.step)

    async def _go_wrong(self, order: OrderTaken, tx: Transaction) -> None:
        deadly = is_deadly(order.order_id, order.step, self.service.name)
        if (deadly or is_bad(order)) and not await tx.fetch("select at from mended"):
            if deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RejectError("not mended yet")


def services() -> list[Service]:
    """All of them, newly declared."""
    made = {name: Service(name, migrations="trouble_migrations", policy=POLICY) for name in EVERY}
    shared, own, apart = (Trouble(made[name]) for name in EVERY)
    made["shared"].on(OrderTaken)(shared.enter)
    made["own"].on(OrderTaken, transaction="own")(own.enter)
    made["apart"].on(OrderTaken)(apart.enter_apart)
    return list(made.values())


if __name__ == "__main__":
    run(*services(), broker=sys.argv[1])
