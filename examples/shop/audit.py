"""What do the services' ledgers say? The auditor alone reads the tables of all; it writes none."""

from __future__ import annotations

from antiphon.storage.database import Database
from examples.shop.verdict import Ledgers, Mark, Money, Shelf

MARKS = (
    "select order_id, 'order ' || state, count(*) from orders_states group by order_id, state",
    "select order_id, 'payment ' || entry, count(*) from payments_ledger group by order_id, entry",
    "select order_id, 'parcel ' || outcome, count(*) from shipping_parcels group by order_id, outcome",
    "select order_id, 'letter ' || occasion, count(*) from notifications_letters group by order_id, occasion",
    """
    select order_id, 'goods requested', max(times) from (
        select order_id, count(*) as times from inventory_requests group by order_id, sku
    ) as products group by order_id
    """,
    """
    select order_id, 'stock ' || kind, max(times) from (
        select order_id, kind, count(*) as times from inventory_movements where order_id <> ''
        group by order_id, kind, sku
    ) as products group by order_id, kind
    """,
)
"""One statement a ledger: which order has which mark, how often."""

MONEY = """
select coalesce(sum(pence) filter (where entry = 'authorised'), 0),
       coalesce(sum(pence) filter (where entry = 'captured'), 0),
       coalesce(sum(pence) filter (where entry = 'released'), 0),
       coalesce(sum(pence) filter (where entry = 'refunded'), 0)
from payments_ledger
"""

UNBALANCED = """
select count(*) from (
    select order_id from payments_ledger where entry <> 'declined' group by order_id
    having sum(case entry when 'authorised' then pence when 'refunded' then 0 else -pence end) <> 0
        or sum(case entry when 'captured' then pence when 'refunded' then -pence else 0 end) < 0
) as orders
"""

SHELVES = """
select stock.sku,
       coalesce(sum(quantity) filter (where kind = 'received'), 0),
       coalesce(sum(quantity) filter (where kind = 'reserved'), 0),
       coalesce(sum(quantity) filter (where kind = 'released'), 0),
       coalesce(sum(quantity) filter (where kind = 'shipped'), 0),
       available
from inventory_stock stock left join inventory_movements movement on movement.sku = stock.sku
group by stock.sku, available
"""

ENDS = "select state, count(*) from orders_states group by state"


async def read_ledgers(database: Database) -> Ledgers:
    """Everything the verdict needs, once the services are done. Raises StoreError."""
    accepted = await database.fetch("select order_id, pence from storefront_orders", row=tuple[str, int])
    marks = [mark for statement in MARKS for mark in await database.fetch(statement, row=Mark)]
    days = await database.fetch("select outcome, sum(orders) from analytics_days group by outcome", row=tuple[str, int])
    [money] = await database.fetch(MONEY, row=Money)
    [unbalanced] = await database.fetch(UNBALANCED, row=int)
    return Ledgers(
        accepted=dict(accepted),
        marks=marks,
        money=money,
        unbalanced=unbalanced,
        shelves=await database.fetch(SHELVES, row=Shelf),
        days=dict(days),
    )


async def read_states(database: Database) -> dict[str, int]:
    """How many orders have been in each state so far."""
    return dict(await database.fetch(ENDS, row=tuple[str, int]))
