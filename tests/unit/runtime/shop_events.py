"""The events that these tests declare handlers of."""

from __future__ import annotations

from datetime import UTC, datetime

from antiphon import EventKind, Key, Message, Struct, event
from antiphon.brokers.ports import Delivery, Partition
from antiphon.events.ids import new_id


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    number: int = 0


@event(topic="orders")
class OrderCancelled(Struct, frozen=True):
    order_id: Key[str]


@event(topic="orders", kind=EventKind.NOTIFICATION)
class OrderReadyToShip(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentDeclined(Struct, frozen=True):
    order_id: Key[str]


@event(topic="prices", kind=EventKind.STATE_TRANSFER)
class PriceSet(Struct, frozen=True):
    product: Key[str]
    pence: int


class NoEvent(Struct, frozen=True):
    order_id: str


def a_message(key: str | None = "order-1", data: bytes | None = b'{"order_id":"order-1"}', **fields: object) -> Message:
    return Message(new_id(), "OrderPlaced", datetime(2026, 1, 1, tzinfo=UTC), data, key, **fields)  # type: ignore[arg-type]


def deliveries(count: int, *, partition: int = 0, first: int = 0) -> list[Delivery]:
    """Of one partition, in order, with two bytes of data each."""
    at = Partition("orders", partition)
    return [Delivery(at, str(number), a_message(data=b"{}")) for number in range(first, first + count)]
