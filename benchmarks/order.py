"""The order as a hand-written program declares it, without Antiphon."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from msgspec import Struct


class Line(Struct, frozen=True):
    sku: str
    quantity: int
    price: Decimal


class Order(Struct, frozen=True):
    order_id: str
    customer: UUID
    placed_at: datetime
    total: Decimal
    channel: str
    lines: list[Line]
