"""What does the analysis read?"""

from __future__ import annotations

from datetime import date

from antiphon import Key, Struct, event


@event(topic="orders", owner="storefront")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    placed_on: date
    pence: int


@event(topic="orders", owner="orders")
class OrderConfirmed(Struct, frozen=True):
    """Goods and money are safe: the order will be sent."""

    order_id: Key[str]
    placed_on: date
    pence: int


@event(topic="orders", owner="orders")
class OrderCancelled(Struct, frozen=True):
    """The order ends here, and everything done for it was undone."""

    order_id: Key[str]
    placed_on: date
    pence: int
