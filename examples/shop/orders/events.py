"""What do the orders read and emit?"""

from __future__ import annotations

from datetime import date

from antiphon import EventKind, Key, Struct, event


class Item(Struct, frozen=True):
    """So many of one product."""

    sku: str
    quantity: int


@event(topic="orders", owner="storefront")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    customer_id: str
    placed_on: date
    pence: int
    items: tuple[Item, ...]


@event(topic="orders", owner="payments")
class PaymentDeclined(Struct, frozen=True):
    """The customer cannot pay; nothing was taken."""

    order_id: Key[str]
    reason: str


@event(topic="orders", owner="payments")
class PaymentCaptured(Struct, frozen=True):
    """The goods are reserved and the money is ours."""

    order_id: Key[str]


@event(topic="orders", owner="payments")
class PaymentReleased(Struct, frozen=True):
    """What was set aside is the customer's again; it was never ours."""

    order_id: Key[str]


@event(topic="orders", owner="payments")
class PaymentRefunded(Struct, frozen=True):
    """What was ours went back to the customer."""

    order_id: Key[str]


@event(topic="orders", owner="shipping", kind=EventKind.NOTIFICATION)
class ShipmentDispatched(Struct, frozen=True):
    """The parcel is on its way."""

    order_id: Key[str]


@event(topic="orders", owner="orders")
class OrderConfirmed(Struct, frozen=True):
    """Goods and money are safe: the order will be sent."""

    order_id: Key[str]
    customer_id: str
    placed_on: date
    pence: int
    items: tuple[Item, ...]


@event(topic="orders", owner="orders")
class OrderCancelled(Struct, frozen=True):
    """The order ends here, and everything done for it was undone."""

    order_id: Key[str]
    customer_id: str
    placed_on: date
    pence: int
    reason: str
