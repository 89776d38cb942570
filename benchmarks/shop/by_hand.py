"""The shop's six services as functions over a connection: the same events and statements, nothing around them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from examples.shop.analytics import events as analytics
from examples.shop.analytics.service import COUNT
from examples.shop.inventory import events as inventory
from examples.shop.inventory import sql as stock
from examples.shop.notifications import events as notifications
from examples.shop.orders import events as orders
from examples.shop.payments import events as payments
from examples.shop.payments.bank import Bank
from examples.shop.shipping import events as shipping
from examples.shop.shipping.carrier import delivers_to

encode = msgspec.json.Encoder().encode
bank = Bank()
decode_items = msgspec.json.Decoder(tuple[orders.Item, ...]).decode

Handle = Callable[[sqlite3.Connection, object], Struct | None]

STATE = "insert into orders_states (order_id, state) values (?, ?)"
KEEP = "insert into orders_orders (order_id, customer_id, placed_on, pence, items) values (?, ?, ?, ?, ?)"
FIND = "select customer_id, placed_on, pence, items from orders_orders where order_id = ?"
ENTRY = "insert into payments_ledger (order_id, entry, pence) values (?, ?, ?)"
AUTHORISED = "select pence from payments_ledger where order_id = ? and entry = 'authorised'"
WEIGHT = "select data from replica where key = ?"
PARCEL = "insert into shipping_parcels (order_id, outcome, grams) values (?, ?, ?)"
LETTER = "insert into notifications_letters (order_id, customer_id, occasion, text) values (?, ?, ?, ?)"


class Handler(NamedTuple):
    """What a service does with one type of event."""

    decode: Callable[[bytes], object]
    handle: Handle


def keep(db: sqlite3.Connection, order: orders.OrderPlaced) -> None:
    items = encode(order.items).decode()
    db.execute(KEEP, (order.order_id, order.customer_id, order.placed_on.isoformat(), order.pence, items))
    db.execute(STATE, (order.order_id, "placed"))


def confirm(db: sqlite3.Connection, payment: orders.PaymentCaptured) -> orders.OrderConfirmed:
    db.execute(STATE, (payment.order_id, "confirmed"))
    customer, day, pence, items = db.execute(FIND, (payment.order_id,)).fetchone()
    return orders.OrderConfirmed(payment.order_id, customer, day, pence, decode_items(items))


def finish(db: sqlite3.Connection, shipment: orders.ShipmentDispatched) -> None:
    db.execute(STATE, (shipment.order_id, "shipped"))


def end(state: str, reason: str) -> Callable[[sqlite3.Connection, orders.PaymentReleased], orders.OrderCancelled]:
    def cancel(db: sqlite3.Connection, payment: orders.PaymentReleased) -> orders.OrderCancelled:
        db.execute(STATE, (payment.order_id, state))
        customer, day, pence, _ = db.execute(FIND, (payment.order_id,)).fetchone()
        return orders.OrderCancelled(payment.order_id, customer, day, pence, reason)

    return cancel


def authorise(
    db: sqlite3.Connection, order: payments.OrderPlaced
) -> payments.PaymentAuthorised | payments.PaymentDeclined:
    if reason := bank.refusal(order.order_id, order.pence):
        db.execute(ENTRY, (order.order_id, "declined", order.pence))
        return payments.PaymentDeclined(order.order_id, reason)
    db.execute(ENTRY, (order.order_id, "authorised", order.pence))
    return payments.PaymentAuthorised(order.order_id, order.pence)


def pay(entry: str, event: Callable[[str, int], Struct]) -> Callable[[sqlite3.Connection, payments.OutOfStock], Struct]:
    def book(db: sqlite3.Connection, cause: payments.OutOfStock) -> Struct:
        (pence,) = db.execute(AUTHORISED, (cause.order_id,)).fetchone()
        db.execute(ENTRY, (cause.order_id, entry, pence))
        return event(cause.order_id, pence)

    return book


def remember(db: sqlite3.Connection, order: inventory.OrderPlaced) -> None:
    db.executemany(stock.REMEMBER, [(order.order_id, item.sku, item.quantity) for item in order.items])


def reserve(
    db: sqlite3.Connection, payment: inventory.PaymentAuthorised
) -> inventory.InventoryReserved | inventory.OutOfStock:
    short = db.execute(stock.SHORT, (payment.order_id,)).fetchone()
    if short:
        return inventory.OutOfStock(payment.order_id, short[0])
    db.execute(stock.TAKE, (payment.order_id,))
    db.execute(stock.MOVE, ("reserved", payment.order_id))
    return inventory.InventoryReserved(payment.order_id)


def ship(db: sqlite3.Connection, shipment: inventory.ShipmentDispatched) -> None:
    db.execute(stock.MOVE, ("shipped", shipment.order_id))


def put_back(db: sqlite3.Connection, shipment: inventory.ShipmentFailed) -> inventory.StockReleased:
    db.execute(stock.PUT_BACK, (shipment.order_id,))
    db.execute(stock.MOVE, ("released", shipment.order_id))
    return inventory.StockReleased(shipment.order_id)


decode_product = msgspec.json.Decoder(shipping.ProductListed).decode


def dispatch(
    db: sqlite3.Connection, order: shipping.OrderConfirmed
) -> shipping.ShipmentDispatched | shipping.ShipmentFailed:
    grams = 120
    for item in order.items:
        (data,) = db.execute(WEIGHT, (item.sku,)).fetchone()
        grams += item.quantity * decode_product(data).grams
    if not delivers_to(order.customer_id, order.order_id):
        db.execute(PARCEL, (order.order_id, "undeliverable", grams))
        return shipping.ShipmentFailed(order.order_id, "no such address")
    db.execute(PARCEL, (order.order_id, "dispatched", grams))
    return shipping.ShipmentDispatched(order.order_id, order.customer_id)


def write(occasion: str, text: str) -> Callable[[sqlite3.Connection, notifications.OrderConfirmed], None]:
    def letter(db: sqlite3.Connection, cause: notifications.OrderConfirmed) -> None:
        db.execute(LETTER, (cause.order_id, cause.customer_id, occasion, text))

    return letter


def count(outcome: str) -> Callable[[sqlite3.Connection, analytics.OrderPlaced], None]:
    def counted(db: sqlite3.Connection, order: analytics.OrderPlaced) -> None:
        db.execute(COUNT, (order.placed_on.isoformat(), outcome, order.pence))

    return counted


def _handler(event: type[Struct], handle: Callable[..., Struct | None]) -> tuple[str, Handler]:
    return event.__name__, Handler(msgspec.json.Decoder(event).decode, handle)


SERVICES: Mapping[str, Mapping[str, Handler]] = {
    "orders": dict(
        (
            _handler(orders.OrderPlaced, keep),
            _handler(orders.PaymentCaptured, confirm),
            _handler(orders.ShipmentDispatched, finish),
            _handler(orders.PaymentDeclined, end("declined", "card declined")),
            _handler(orders.PaymentReleased, end("out of stock", "out of stock")),
            _handler(orders.PaymentRefunded, end("cancelled", "could not be delivered")),
        )
    ),
    "payments": dict(
        (
            _handler(payments.OrderPlaced, authorise),
            _handler(payments.InventoryReserved, pay("captured", payments.PaymentCaptured)),
            _handler(payments.OutOfStock, pay("released", payments.PaymentReleased)),
            _handler(payments.StockReleased, pay("refunded", payments.PaymentRefunded)),
        )
    ),
    "inventory": dict(
        (
            _handler(inventory.OrderPlaced, remember),
            _handler(inventory.PaymentAuthorised, reserve),
            _handler(inventory.ShipmentDispatched, ship),
            _handler(inventory.ShipmentFailed, put_back),
        )
    ),
    "shipping": dict((_handler(shipping.OrderConfirmed, dispatch),)),
    "notifications": dict(
        (
            _handler(notifications.OrderConfirmed, write("confirmed", "Thank you, we are packing your order.")),
            _handler(notifications.OrderCancelled, write("cancelled", "We are sorry: it could not be delivered.")),
            _handler(
                notifications.ShipmentDispatched, write("dispatched", "Your parcel GB0123456789AB has left Leeds.")
            ),
        )
    ),
    "analytics": dict(
        (
            _handler(analytics.OrderPlaced, count("placed")),
            _handler(analytics.OrderConfirmed, count("confirmed")),
            _handler(analytics.OrderCancelled, count("cancelled")),
        )
    ),
}
