"""What does the storefront tell the shop?"""

from __future__ import annotations

from datetime import date

from antiphon import Key, Struct, event


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


@event(topic="products", owner="storefront")
class GoodsDelivered(Struct, frozen=True):
    """A supplier delivered so many of one product to the warehouse."""

    sku: Key[str]
    name: str
    grams: int
    quantity: int
