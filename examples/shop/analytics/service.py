"""How many orders, and for how much, were placed, confirmed and cancelled on each day?"""

from __future__ import annotations

from datetime import date

from antiphon import Service, Transaction
from examples.shop.analytics.events import OrderCancelled, OrderConfirmed, OrderPlaced

analytics = Service("analytics", migrations="migrations")

COUNT = """
insert into analytics_days (day, outcome, orders, pence) values (?, ?, 1, ?)
on conflict (day, outcome) do update
set orders = analytics_days.orders + 1, pence = analytics_days.pence + excluded.pence
"""


@analytics.on(OrderPlaced)
async def count_placed(order: OrderPlaced, tx: Transaction) -> None:
    await count("placed", order.placed_on, order.pence, tx)


@analytics.on(OrderConfirmed)
async def count_confirmed(order: OrderConfirmed, tx: Transaction) -> None:
    await count("confirmed", order.placed_on, order.pence, tx)


@analytics.on(OrderCancelled)
async def count_cancelled(order: OrderCancelled, tx: Transaction) -> None:
    await count("cancelled", order.placed_on, order.pence, tx)


async def count(outcome: str, day: date, pence: int, tx: Transaction) -> None:
    await tx.execute(COUNT, day.isoformat(), outcome, pence)
