"""What do the services' ledgers say? The auditor alone reads the tables of all; it writes none."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from antiphon.storage.database import Database
from examples.shop.verdict import Ledgers, Mark, Money, Shelf

MARKS = (
    ("orders", "select order_id, 'order ' || state, count(*) from orders_states group by order_id, state"),
    ("payments", "select order_id, 'payment ' || entry, count(*) from payments_ledger group by order_id, entry"),
    ("shipping", "select order_id, 'parcel ' || outcome, count(*) from shipping_parcels group by order_id, outcome"),
    (
        "notifications",
        "select order_id, 'letter ' || occasion, count(*) from notifications_letters group by order_id, occasion",
    ),
    (
        "inventory",
        """
    select order_id, 'goods requested', max(times) from (
        select order_id, count(*) as times from inventory_requests group by order_id, sku
    ) as products group by order_id
    """,
    ),
    (
        "inventory",
        """
    select order_id, 'stock ' || kind, max(times) from (
        select order_id, kind, count(*) as times from inventory_movements where order_id <> ''
        group by order_id, kind, sku
    ) as products group by order_id, kind
    """,
    ),
)
"""One statement a ledger, and whose it is: which order has which mark, how often."""

MONEY = """
select cast(coalesce(sum(pence) filter (where entry = 'authorised'), 0) as bigint),
       cast(coalesce(sum(pence) filter (where entry = 'captured'), 0) as bigint),
       cast(coalesce(sum(pence) filter (where entry = 'released'), 0) as bigint),
       cast(coalesce(sum(pence) filter (where entry = 'refunded'), 0) as bigint)
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
       cast(coalesce(sum(quantity) filter (where kind = 'received'), 0) as bigint),
       cast(coalesce(sum(quantity) filter (where kind = 'reserved'), 0) as bigint),
       cast(coalesce(sum(quantity) filter (where kind = 'released'), 0) as bigint),
       cast(coalesce(sum(quantity) filter (where kind = 'shipped'), 0) as bigint),
       available
from inventory_stock stock left join inventory_movements movement on movement.sku = stock.sku
group by stock.sku, available
"""

DAYS = "select outcome, cast(sum(orders) as bigint) from analytics_days group by outcome"

ENDS = "select state, count(*) from orders_states group by state"


async def read_ledgers(log: Database, own: Mapping[str, Database] = MappingProxyType({})) -> Ledgers:
    """Everything the verdict needs, once the services are done; `own` holds the stores that are not the log's.

    Raises StoreError.
    """
    payments, inventory, analytics = (own.get(name, log) for name in ("payments", "inventory", "analytics"))
    accepted = await log.fetch("select order_id, pence from storefront_orders", row=tuple[str, int])
    marks = [mark for service, each in MARKS for mark in await own.get(service, log).fetch(each, row=Mark)]
    days = await analytics.fetch(DAYS, row=tuple[str, int])
    [money] = await payments.fetch(MONEY, row=Money)
    [unbalanced] = await payments.fetch(UNBALANCED, row=int)
    return Ledgers(
        accepted=dict(accepted),
        marks=marks,
        money=money,
        unbalanced=unbalanced,
        shelves=await inventory.fetch(SHELVES, row=Shelf),
        days=dict(days),
    )


async def read_states(database: Database) -> dict[str, int]:
    """How many orders have been in each state so far."""
    return dict(await database.fetch(ENDS, row=tuple[str, int]))
