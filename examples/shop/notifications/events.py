"""What do the notifications read?"""

from __future__ import annotations

from antiphon import EventKind, Key, Struct, event


@event(topic="orders", owner="orders")
class OrderConfirmed(Struct, frozen=True):
    """Goods and money are safe: the order will be sent."""

    order_id: Key[str]
    customer_id: str


@event(topic="orders", owner="orders")
class OrderCancelled(Struct, frozen=True):
    """The order ends here, and everything done for it was undone."""

    order_id: Key[str]
    customer_id: str
    reason: str


@event(topic="orders", owner="shipping", kind=EventKind.NOTIFICATION)
class ShipmentDispatched(Struct, frozen=True):
    """The parcel is on its way; where to, the carrier tells who asks."""

    order_id: Key[str]
    customer_id: str
