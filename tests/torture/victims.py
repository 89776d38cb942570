"""The process that is killed: a service that writes a row and emits an event for each order."""

from __future__ import annotations

import sys

from antiphon import Key, Service, Struct, Transaction, event, run


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


till = Service("till")
payments = Service("payments", migrations="migrations")


@payments.on(OrderPlaced, guarantee="effectively_once")
async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
    await tx.execute("insert into ledger (order_id) values (?)", order.order_id)
    return PaymentAuthorised(order.order_id)


if __name__ == "__main__":
    run(payments, broker=sys.argv[1])
