"""What is an order, before anyone has handled it?"""

from __future__ import annotations

from collections import Counter
from datetime import date

from msgspec import Struct


class Item(Struct, frozen=True):
    """So many of one product."""

    sku: str
    quantity: int


class Order(Struct, frozen=True):
    """One order as the storefront took it; `pence` is its total, each product stands in one item."""

    order_id: str
    customer_id: str
    placed_on: date
    pence: int
    items: tuple[Item, ...]


def merged(items: list[Item]) -> tuple[Item, ...]:
    """The same goods with each product once, in order of first appearance."""
    quantities: Counter[str] = Counter()
    for item in items:
        quantities[item.sku] += item.quantity
    return tuple(Item(sku, quantity) for sku, quantity in quantities.items())
