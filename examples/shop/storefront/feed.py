"""How do orders and goods get into the log, once, or twice on purpose?"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.storage.database import Database, Migration, Transaction
from examples.shop.catalog import Goods
from examples.shop.order import Order
from examples.shop.storefront.events import GoodsDelivered, Item, OrderPlaced

TABLES = (
    Migration(
        1,
        "orders",
        """
        create table storefront_orders (order_id text not null, pence integer not null);
        create index storefront_orders_by_id on storefront_orders (order_id);
        """,
    ),
)

TWICE_EVERY = 100
"""One order in so many is sent twice: an impatient customer's second click, under the same message id."""


class WayOut(Protocol):
    """How orders leave with the storefront's own transaction: a broker that lies in a database, or an outbox."""

    @property
    def database(self) -> Database:
        """Where the storefront keeps its tables."""
        ...

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """As `Broker.publish`."""
        ...

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """As `StoreBroker.publish_in`."""
        ...


class Storefront:
    """Takes orders: each is noted and published in one transaction, so what was taken is on its way.

    One order in `twice_every` is sent twice, half of those at once and half when they were handled; none for 0.
    """

    def __init__(self, way: WayOut, *, twice_every: int = TWICE_EVERY) -> None:
        self._way, self._twice_every = way, twice_every
        self.pages: Database = way.database
        """What customers' pages are made from, until it is given another store."""
        self._composer = Composer("storefront", SystemClock())
        self.placed = self.delivered = 0
        self._second_clicks: deque[tuple[str, Outgoing]] = deque()
        self.repeated = 0

    async def open(self) -> None:
        """Make its tables. Raises StoreError."""
        await self._way.database.migrate("storefront", TABLES)

    async def deliver(self, goods: Sequence[Goods]) -> None:
        """Stock the shop."""
        self.delivered += len(goods)
        await self._way.publish(
            [
                self._composer.first(GoodsDelivered(product.sku, product.name, product.grams, quantity))
                for product, quantity in ((each.product, each.quantity) for each in goods)
            ]
        )

    async def place(self, orders: Sequence[Order]) -> None:
        """Take these orders; returns when they are durable. Some are sent twice at once, some once more later."""
        outgoing: list[Outgoing] = []
        for order in orders:
            sent = self._composer.first(_placed(order))
            outgoing.append(sent)
            self.placed += 1
            if self._twice_every and self.placed % self._twice_every == 1:
                self._repeat(order, sent, outgoing)
        async with self._way.database.transaction() as tx:
            await tx.execute_many(
                "insert into storefront_orders (order_id, pence) values (?, ?)",
                [(order.order_id, order.pence) for order in orders],
            )
            await self._way.publish_in(tx, outgoing)

    def _repeat(self, order: Order, sent: Outgoing, outgoing: list[Outgoing]) -> None:
        if self.placed % (2 * self._twice_every) == 1:
            outgoing.append(sent)
            self.repeated += 1
        else:
            self._second_clicks.append((order.order_id, sent))

    async def click_again(self, *, all_of_them: bool = False) -> int:
        """Send those orders again whose first sending was handled meanwhile, or all; returns how many were sent."""
        again: list[Outgoing] = []
        while self._second_clicks and (all_of_them or await self._is_handled(self._second_clicks[0][0])):
            again.append(self._second_clicks.popleft()[1])
        if again:
            await self._way.publish(again)
            self.repeated += len(again)
        return len(again)

    async def _is_handled(self, order_id: str) -> bool:
        """Whether the order shows on the customer's page, so that clicking again is a mistake."""
        found = await self.pages.fetch("select 1 from orders_states where order_id = ? limit 1", order_id)
        return bool(found)


def _placed(order: Order) -> OrderPlaced:
    items = tuple(Item(item.sku, item.quantity) for item in order.items)
    return OrderPlaced(order.order_id, order.customer_id, order.placed_on, order.pence, items)
