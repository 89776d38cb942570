"""What does the inventory read and emit?"""

from __future__ import annotations

from antiphon import EventKind, Key, Struct, event


class Item(Struct, frozen=True):
    """So many of one product."""

    sku: str
    quantity: int


@event(topic="products", owner="storefront")
class GoodsDelivered(Struct, frozen=True):
    """A supplier delivered so many of one product to the warehouse."""

    sku: Key[str]
    name: str
    grams: int
    quantity: int


@event(topic="products", owner="inventory", kind=EventKind.STATE_TRANSFER)
class ProductListed(Struct, frozen=True):
    """All there is to know of a product; whoever needs it keeps a replica."""

    sku: Key[str]
    name: str
    grams: int


@event(topic="orders", owner="storefront")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    items: tuple[Item, ...]


@event(topic="orders", owner="payments")
class PaymentAuthorised(Struct, frozen=True):
    """The customer's bank set the money aside."""

    order_id: Key[str]


@event(topic="orders", owner="shipping", kind=EventKind.NOTIFICATION)
class ShipmentDispatched(Struct, frozen=True):
    """The parcel is on its way."""

    order_id: Key[str]


@event(topic="orders", owner="shipping")
class ShipmentFailed(Struct, frozen=True):
    """The parcel cannot be delivered and never left."""

    order_id: Key[str]


@event(topic="orders", owner="inventory")
class InventoryReserved(Struct, frozen=True):
    """Everything in the order is set aside in the warehouse."""

    order_id: Key[str]


@event(topic="orders", owner="inventory")
class OutOfStock(Struct, frozen=True):
    """Something in the order is not there; nothing was set aside."""

    order_id: Key[str]
    sku: str


@event(topic="orders", owner="inventory")
class StockReleased(Struct, frozen=True):
    """What was set aside is back on the shelf."""

    order_id: Key[str]
