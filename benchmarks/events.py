"""The same order as a user of Antiphon declares it, and what follows from it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from antiphon import Key, Struct, event
from benchmarks.order import Line


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    """A customer placed an order."""

    order_id: Key[str]
    customer: UUID
    placed_at: datetime
    total: Decimal
    channel: str
    lines: list[Line]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    """The money for an order is held."""

    order_id: Key[str]
    pence: int
