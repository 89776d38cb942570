"""When is an order confirmed, and when does it end?"""

from __future__ import annotations

from datetime import date

from msgspec import json

from antiphon import Service, Struct, Transaction
from examples.shop.orders.events import (
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentReleased,
    ShipmentDispatched,
)

orders = Service("orders", migrations="migrations")


class Order(Struct, frozen=True):
    """A row of `orders_orders`."""

    customer_id: str
    placed_on: date
    pence: int
    items: str


@orders.on(OrderPlaced)
async def keep(order: OrderPlaced, tx: Transaction) -> None:
    await tx.execute(
        "insert into orders_orders (order_id, customer_id, placed_on, pence, items) values (?, ?, ?, ?, ?)",
        order.order_id,
        order.customer_id,
        order.placed_on.isoformat(),
        order.pence,
        json.encode(order.items).decode(),
    )
    await enter("placed", order.order_id, tx)


@orders.on(PaymentCaptured)
async def confirm(payment: PaymentCaptured, tx: Transaction) -> OrderConfirmed:
    await enter("confirmed", payment.order_id, tx)
    order = await find(payment.order_id, tx)
    return OrderConfirmed(
        payment.order_id,
        order.customer_id,
        order.placed_on,
        order.pence,
        json.decode(order.items, type=tuple[Item, ...]),
    )


@orders.on(ShipmentDispatched)
async def finish(shipment: ShipmentDispatched, tx: Transaction) -> None:
    await enter("shipped", shipment.order_id, tx)


@orders.on(PaymentDeclined)
async def decline(payment: PaymentDeclined, tx: Transaction) -> OrderCancelled:
    return await end("declined", payment.order_id, payment.reason, tx)


@orders.on(PaymentReleased)
async def give_up(payment: PaymentReleased, tx: Transaction) -> OrderCancelled:
    return await end("out of stock", payment.order_id, "out of stock", tx)


@orders.on(PaymentRefunded)
async def cancel(payment: PaymentRefunded, tx: Transaction) -> OrderCancelled:
    return await end("cancelled", payment.order_id, "could not be delivered", tx)


async def enter(state: str, order_id: str, tx: Transaction) -> None:
    """Note that an order is in a state now. States are only ever added, so what happened can be audited."""
    await tx.execute("insert into orders_states (order_id, state) values (?, ?)", order_id, state)


async def end(state: str, order_id: str, reason: str, tx: Transaction) -> OrderCancelled:
    await enter(state, order_id, tx)
    order = await find(order_id, tx)
    return OrderCancelled(order_id, order.customer_id, order.placed_on, order.pence, reason)


async def find(order_id: str, tx: Transaction) -> Order:
    """The order; it is always there, since its story is read in order."""
    found = await tx.fetch_one(
        "select customer_id, placed_on, pence, items from orders_orders where order_id = ?", order_id, row=Order
    )
    if found is None:
        raise LookupError(f"order {order_id} was never placed here")
    return found
