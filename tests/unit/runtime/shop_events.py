"""The events that these tests declare handlers of, and how those become routes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from antiphon import EventKind, Key, Message, Struct, event
from antiphon.brokers.ports import Delivery, Partition
from antiphon.events.ids import new_id
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.runtime.compiling import compile_routes
from antiphon.runtime.declared import Declared
from antiphon.runtime.options import Choices
from antiphon.runtime.route import Route
from antiphon.runtime.running import Plan
from antiphon.testing.clock import VirtualClock


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


def routes_of(
    declared: Declared, dependencies: Mapping[type, object] = {}, choices: Choices | None = None
) -> dict[str, dict[str, Route]]:
    """The routes of these declarations, by topic and name, as a service makes them when it starts."""
    metrics = Metrics(service=declared.service)
    plan = Plan(declared, VirtualClock(), metrics, Hooks(metrics))
    plan.choices = choices or Choices()
    return compile_routes(plan, dependencies)
