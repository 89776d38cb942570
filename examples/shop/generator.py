"""What would a day of orders look like, when there is no file of real ones?"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random

from examples.shop.catalog import items_of
from examples.shop.order import Order

FIRST_DAY = date(2026, 1, 5)
FIRST_NUMBER = 700_001


def generate_orders(count: int, seed: int) -> Iterator[Order]:
    """`count` orders, the same for the same seed: few customers buy much, most orders are small, a few are huge."""
    chance = Random(seed)
    customers = max(20, count // 4)
    for place in range(count):
        order_id = f"{seed}-{FIRST_NUMBER + place}"
        yield Order(
            order_id=order_id,
            customer_id=f"{10_000 + int(customers * chance.random() ** 2)}",
            placed_on=FIRST_DAY + timedelta(days=place * 28 // count),
            pence=max(50, int(chance.lognormvariate(10.3, 1.0))),
            items=items_of(order_id),
        )


def write_invoices(path: Path, count: int, seed: int) -> None:
    """Write orders as a CSV with one row an invoice; totals carry the dust of binary fractions, as real ones do."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("InvoiceNo", "InvoiceDate", "CustomerID", "TotalPrice"))
        for place, order in enumerate(generate_orders(count, seed)):
            total = order.pence / 100 + (3e-15 * order.pence if place % 3 == 0 else 0)
            rows.writerow((536_365 + place, order.placed_on.isoformat(), order.customer_id, repr(total)))


def write_lines(path: Path, invoices: int, seed: int) -> None:
    """Write orders as a CSV with one row a line; every tenth invoice is a return, every twelfth has no customer."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
        )
        for place, order in enumerate(generate_orders(invoices, seed)):
            returned, unknown = place % 10 == 9, place % 12 == 11
            moment = f"{order.placed_on.month}/{order.placed_on.day}/{order.placed_on:%y} 8:26"
            for item in order.items:
                number = f"{'C' if returned else ''}{536_365 + place}"
                quantity = -item.quantity if returned else item.quantity
                customer = "" if unknown else order.customer_id
                rows.writerow((number, item.sku, "", quantity, moment, 2.55, customer, "United Kingdom"))
