"""What do the payments read and emit?"""

from __future__ import annotations

from antiphon import Key, Struct, event


@event(topic="orders", owner="storefront")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    pence: int


@event(topic="orders", owner="inventory")
class InventoryReserved(Struct, frozen=True):
    """Everything in the order is set aside in the warehouse."""

    order_id: Key[str]


@event(topic="orders", owner="inventory")
class OutOfStock(Struct, frozen=True):
    """Something in the order is not there; nothing was set aside."""

    order_id: Key[str]


@event(topic="orders", owner="inventory")
class StockReleased(Struct, frozen=True):
    """What was set aside is back on the shelf."""

    order_id: Key[str]


@event(topic="orders", owner="payments")
class PaymentAuthorised(Struct, frozen=True):
    """The customer's bank set the money aside."""

    order_id: Key[str]
    pence: int


@event(topic="orders", owner="payments")
class PaymentDeclined(Struct, frozen=True):
    """The customer cannot pay; nothing was taken."""

    order_id: Key[str]
    reason: str


@event(topic="orders", owner="payments")
class PaymentCaptured(Struct, frozen=True):
    """The goods are reserved and the money is ours."""

    order_id: Key[str]
    pence: int


@event(topic="orders", owner="payments")
class PaymentReleased(Struct, frozen=True):
    """What was set aside is the customer's again; it was never ours."""

    order_id: Key[str]
    pence: int


@event(topic="orders", owner="payments")
class PaymentRefunded(Struct, frozen=True):
    """What was ours went back to the customer."""

    order_id: Key[str]
    pence: int
