"""What does the shipping read and emit?"""

from __future__ import annotations

from antiphon import EventKind, Key, Struct, event


class Item(Struct, frozen=True):
    """So many of one product."""

    sku: str
    quantity: int


@event(topic="products", owner="inventory", kind=EventKind.STATE_TRANSFER)
class ProductListed(Struct, frozen=True):
    """What shipping needs to know of a product."""

    sku: Key[str]
    grams: int


@event(topic="orders", owner="orders")
class OrderConfirmed(Struct, frozen=True):
    """Goods and money are safe: the order will be sent."""

    order_id: Key[str]
    customer_id: str
    items: tuple[Item, ...]


@event(topic="orders", owner="shipping", kind=EventKind.NOTIFICATION)
class ShipmentDispatched(Struct, frozen=True):
    """The parcel is on its way; whoever wants to know more asks."""

    order_id: Key[str]
    customer_id: str


@event(topic="orders", owner="shipping")
class ShipmentFailed(Struct, frozen=True):
    """The parcel cannot be delivered and never left."""

    order_id: Key[str]
    reason: str
