"""The process that is killed: services that do their work in every way there is, all on one log."""

from __future__ import annotations

import asyncio
import sys

from antiphon import Key, Retry, Service, Struct, Transaction, event, run

ENTER = "insert into entries (service, order_id) values (?, ?)"
ONCE = ("shared", "own", "batch", "parking", "shipping")
"""Services whose entries are made with a transaction: once for each order, whatever is killed."""
EVERY = (*ONCE, "mailing", "apart")


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


@event(topic="mails")
class MailSent(Struct, frozen=True):
    order_id: Key[str]


def fails(order_id: str) -> bool:
    """Whether this order is one that the service `parking` fails on."""
    return order_id.endswith("0")


def services(*, inbox: bool = True) -> list[Service]:
    """All of them, newly declared."""
    street = {name: Service(name, migrations="street_migrations", inbox=inbox) for name in EVERY}
    _declare_with_transactions(street)
    _declare_others(street)
    return list(street.values())


def _declare_with_transactions(street: dict[str, Service]) -> None:
    @street["shared"].on(OrderPlaced)
    async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
        await tx.execute(ENTER, "shared", order.order_id)
        return PaymentAuthorised(order.order_id)

    @street["own"].on(OrderPlaced, transaction="own")
    async def ask(order: OrderPlaced, tx: Transaction) -> None:
        await asyncio.sleep(0)
        await tx.execute(ENTER, "own", order.order_id)

    @street["batch"].on_batch(OrderPlaced, size=20)
    async def count(orders: list[OrderPlaced], tx: Transaction) -> None:
        await tx.execute_many(ENTER, [("batch", order.order_id) for order in orders])

    @street["parking"].on(OrderPlaced, policy=Retry(delayed=0))
    async def check(order: OrderPlaced, tx: Transaction) -> None:
        await tx.execute(ENTER, "parking", order.order_id)
        if fails(order.order_id):
            raise ValueError("it ends with a zero")

    @street["shipping"].on(PaymentAuthorised)
    async def ship(payment: PaymentAuthorised, tx: Transaction) -> None:
        await tx.execute(ENTER, "shipping", payment.order_id)


def _declare_others(street: dict[str, Service]) -> None:
    @street["mailing"].on(OrderPlaced)
    async def mail(order: OrderPlaced) -> MailSent:
        return MailSent(order.order_id)

    @street["apart"].on(OrderPlaced)
    async def write_apart(order: OrderPlaced) -> None:
        """The control: its watermark is not in the commit of its entries."""
        async with street["apart"].store.transaction() as tx:
            await tx.execute(ENTER, "apart", order.order_id)


if __name__ == "__main__":
    run(*services(inbox="--without-inbox" not in sys.argv), broker=sys.argv[1])
