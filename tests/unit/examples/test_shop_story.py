"""Does the whole shop, in memory, conserve what it should, and does the verdict see it when it does not?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from msgspec import structs

from antiphon.brokers.memory import MemoryBroker
from antiphon.events.message import Outgoing
from antiphon.storage.database import Transaction
from antiphon.testing import Harness
from antiphon.testing.sabotage import Saboteur
from examples.shop.audit import read_ledgers
from examples.shop.catalog import Demand
from examples.shop.generator import generate_orders
from examples.shop.process import service_named
from examples.shop.processes import SERVICES
from examples.shop.storefront.feed import Storefront, WayOut
from examples.shop.verdict import Verdict, judge

COUNT = 400


class Losing(Saboteur):
    """Confirms the third event of a type and holds nothing of it: that order is sent only once."""

    def __init__(self, broker: MemoryBroker, type: str) -> None:
        super().__init__(broker)
        self.type, self.seen = type, 0

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        kept: list[Outgoing] = []
        for one in outgoing:
            self.seen += one.message.type == self.type
            if one.message.type != self.type or self.seen != 3:
                kept.append(one)
        await super().publish_in(tx, kept)


@asynccontextmanager
async def shop(*, losing: str | None = None) -> AsyncIterator[Harness]:
    harness = Harness(*(service_named(service) for service in SERVICES))
    if losing is not None:
        harness.broker.broker = Losing(cast("MemoryBroker", harness.broker.broker), losing)
    async with harness:
        yield harness


async def sell(harness: Harness) -> Verdict:
    orders, demand = list(generate_orders(COUNT, seed=1)), Demand()
    for order in orders:
        demand.add(order)
    storefront = Storefront(cast("WayOut", harness.broker))
    await storefront.open()
    await storefront.deliver(demand.goods())
    await harness.settle()
    await storefront.place(orders)
    await harness.settle()
    await storefront.click_again()
    await harness.settle()
    assert storefront.repeated == COUNT // 100
    return judge(await read_ledgers(harness.store))


async def test_every_story_happens_and_everything_is_conserved() -> None:
    async with shop() as harness:
        verdict = await sell(harness)
        assert verdict.is_good, verdict.problems
        assert verdict.orders == COUNT
        ends = (verdict.confirmed, verdict.declined, verdict.out_of_stock, verdict.cancelled)
        assert all(ends)
        assert sum(ends) == COUNT


async def test_without_the_inbox_orders_sent_twice_have_double_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        plan = service_named(service)._plan
        monkeypatch.setattr(plan, "choices", structs.replace(plan.choices, inbox=False))
    async with shop() as harness:
        verdict = await sell(harness)
        assert verdict.double_effects >= COUNT // 100
        assert not verdict.is_good


@pytest.mark.parametrize(
    "type",
    [
        "OrderPlaced",
        "PaymentAuthorised",
        "InventoryReserved",
        "PaymentCaptured",
        "OrderConfirmed",
        "ShipmentDispatched",
    ],
)
async def test_a_lost_message_is_a_lost_order(type: str) -> None:
    async with shop(losing=type) as harness:
        verdict = await sell(harness)
        assert verdict.lost == 1
        assert not verdict.is_good
