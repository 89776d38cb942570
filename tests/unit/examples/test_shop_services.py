"""What does each service of the shop do with each event it reads?"""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from antiphon.testing import Harness
from examples.shop.analytics import events as analytics
from examples.shop.inventory import events as inventory
from examples.shop.notifications import events as notifications
from examples.shop.notifications.tracking import Tracking
from examples.shop.orders import events as orders
from examples.shop.payments import events as payments
from examples.shop.payments.bank import LIMIT_PENCE, Bank
from examples.shop.process import service_named
from examples.shop.shipping import events as shipping
from examples.shop.shipping.carrier import delivers_to

DAY = date(2010, 12, 1)


class Generous(Bank):
    def refusal(self, order_id: str, pence: int) -> str | None:
        return None


def undeliverable(customer_id: str) -> str:
    return next(f"O{number}" for number in range(1_000) if not delivers_to(customer_id, f"O{number}"))


def deliverable(customer_id: str) -> str:
    return next(f"O{number}" for number in range(1_000) if delivers_to(customer_id, f"O{number}"))


class TestOrders:
    placed = orders.OrderPlaced("O1", "C1", DAY, 500, (orders.Item("A", 2),))

    async def test_an_order_is_confirmed_once_it_is_paid(self) -> None:
        async with Harness(service_named("orders")) as harness:
            await harness.give(self.placed, orders.PaymentCaptured("O1"), orders.ShipmentDispatched("O1"))
            assert harness.emitted == [orders.OrderConfirmed("O1", "C1", DAY, 500, (orders.Item("A", 2),))]
            states = await harness.fetch("select state from orders_states order by rowid", row=str)
            assert states == ["placed", "confirmed", "shipped"]

    @pytest.mark.parametrize(
        ("event", "state", "reason"),
        [
            (orders.PaymentDeclined("O1", "over the limit"), "declined", "over the limit"),
            (orders.PaymentReleased("O1"), "out of stock", "out of stock"),
            (orders.PaymentRefunded("O1"), "cancelled", "could not be delivered"),
        ],
    )
    async def test_an_order_that_was_undone_is_cancelled(self, event: object, state: str, reason: str) -> None:
        async with Harness(service_named("orders")) as harness:
            await harness.give(self.placed, event)
            assert harness.emitted == [orders.OrderCancelled("O1", "C1", DAY, 500, reason)]
            assert await harness.fetch("select state from orders_states order by rowid", row=str) == ["placed", state]

    async def test_a_payment_for_an_order_nobody_placed_is_tried_for_minutes_and_then_parked(self) -> None:
        async with Harness(service_named("orders"), raising=False) as harness:
            await harness.give(orders.PaymentCaptured("O9"))
            assert [item.message.key for item in harness.waiting] == ["O9"]
            assert harness.dead_letters == []
            await harness.advance(timedelta(minutes=10))
            assert [letter.reason for letter in harness.dead_letters] == ["LookupError"]


class TestPayments:
    async def test_money_is_set_aside_then_taken_then_given_back(self) -> None:
        async with Harness(service_named("payments"), replace={Bank: Generous()}) as harness:
            story = payments.OrderPlaced("O1", 500), payments.InventoryReserved("O1"), payments.StockReleased("O1")
            await harness.give(*story)
            assert harness.emitted == [
                payments.PaymentAuthorised("O1", 500),
                payments.PaymentCaptured("O1", 500),
                payments.PaymentRefunded("O1", 500),
            ]
            entries = await harness.fetch("select entry, pence from payments_ledger order by rowid")
            assert entries == [("authorised", 500), ("captured", 500), ("refunded", 500)]

    async def test_money_set_aside_is_released_when_stock_is_out(self) -> None:
        async with Harness(service_named("payments"), replace={Bank: Generous()}) as harness:
            await harness.give(payments.OrderPlaced("O1", 500), payments.OutOfStock("O1"))
            assert harness.emitted[-1] == payments.PaymentReleased("O1", 500)

    async def test_above_the_limit_nothing_is_set_aside(self) -> None:
        async with Harness(service_named("payments")) as harness:
            await harness.give(payments.OrderPlaced("O1", LIMIT_PENCE + 1))
            assert harness.emitted == [payments.PaymentDeclined("O1", "over the limit")]
            assert await harness.fetch("select entry from payments_ledger", row=str) == ["declined"]


class TestInventory:
    delivered = inventory.GoodsDelivered("A", "Lantern", 300, 5)

    @staticmethod
    async def available(harness: Harness) -> int:
        [found] = await harness.fetch("select available from inventory_stock where sku = 'A'", row=int)
        return found

    async def test_delivered_goods_are_listed_for_whoever_keeps_a_replica(self) -> None:
        async with Harness(service_named("inventory")) as harness:
            await harness.give(self.delivered, self.delivered)
            assert harness.emitted[0] == inventory.ProductListed("A", "Lantern", 300)
            assert await self.available(harness) == 10

    async def test_stock_is_reserved_when_all_of_it_is_there(self) -> None:
        async with Harness(service_named("inventory")) as harness:
            await harness.give(self.delivered)
            await harness.give(inventory.OrderPlaced("O1", (inventory.Item("A", 3),)))
            await harness.give(inventory.PaymentAuthorised("O1"))
            assert harness.emitted_on("orders") == [inventory.InventoryReserved("O1")]
            assert await self.available(harness) == 2

    async def test_nothing_is_reserved_when_one_product_is_short(self) -> None:
        async with Harness(service_named("inventory")) as harness:
            items = (inventory.Item("A", 3), inventory.Item("B", 1))
            await harness.give(self.delivered)
            await harness.give(inventory.OrderPlaced("O1", items), inventory.PaymentAuthorised("O1"))
            assert harness.emitted_on("orders") == [inventory.OutOfStock("O1", "B")]
            assert await self.available(harness) == 5

    async def test_what_cannot_be_delivered_is_back_on_the_shelf(self) -> None:
        async with Harness(service_named("inventory")) as harness:
            await harness.give(self.delivered)
            await harness.give(inventory.OrderPlaced("O1", (inventory.Item("A", 3),)))
            await harness.give(inventory.PaymentAuthorised("O1"), inventory.ShipmentFailed("O1"))
            assert harness.emitted_on("orders")[-1] == inventory.StockReleased("O1")
            assert await self.available(harness) == 5

    async def test_what_was_shipped_stays_off_the_shelf(self) -> None:
        async with Harness(service_named("inventory")) as harness:
            await harness.give(self.delivered)
            await harness.give(inventory.OrderPlaced("O1", (inventory.Item("A", 3),)))
            await harness.give(inventory.PaymentAuthorised("O1"), inventory.ShipmentDispatched("O1"))
            moved = await harness.fetch("select kind, quantity from inventory_movements order by rowid")
            assert moved == [("received", 5), ("reserved", 3), ("shipped", 3)]
            assert await self.available(harness) == 2


class TestShipping:
    async def test_a_parcel_is_weighed_by_the_replica_of_products(self) -> None:
        async with Harness(service_named("shipping")) as harness:
            order = deliverable("C1")
            await harness.give(shipping.ProductListed("A", 300))
            await harness.give(shipping.OrderConfirmed(order, "C1", (shipping.Item("A", 2),)))
            assert harness.emitted == [shipping.ShipmentDispatched(order, "C1")]
            assert await harness.fetch("select outcome, grams from shipping_parcels") == [("dispatched", 720)]

    async def test_an_address_that_does_not_exist_fails_the_shipment(self) -> None:
        async with Harness(service_named("shipping")) as harness:
            order = undeliverable("C1")
            await harness.give(shipping.OrderConfirmed(order, "C1", (shipping.Item("A", 1),)))
            assert harness.emitted == [shipping.ShipmentFailed(order, "no such address")]


class TestNotifications:
    async def test_the_details_of_a_parcel_are_fetched(self) -> None:
        async def ask(shipment: notifications.ShipmentDispatched) -> Tracking:
            return Tracking("GB1", "Leeds")

        fetch = {notifications.ShipmentDispatched: ask}
        async with Harness(service_named("notifications"), fetch=fetch) as harness:
            await harness.give(notifications.ShipmentDispatched("O1", "C1"))
            letters = await harness.fetch("select occasion, text from notifications_letters")
            assert letters == [("dispatched", "Your parcel GB1 has left Leeds.")]

    async def test_customers_are_told_of_good_and_bad(self) -> None:
        async with Harness(service_named("notifications")) as harness:
            await harness.give(notifications.OrderConfirmed("O1", "C1"))
            await harness.give(notifications.OrderCancelled("O2", "C2", "out of stock"))
            letters = await harness.fetch("select order_id, occasion from notifications_letters order by rowid")
            assert letters == [("O1", "confirmed"), ("O2", "cancelled")]


class TestAnalytics:
    async def test_days_add_up(self) -> None:
        async with Harness(service_named("analytics")) as harness:
            await harness.give(analytics.OrderPlaced("O1", DAY, 500), analytics.OrderPlaced("O2", DAY, 300))
            await harness.give(analytics.OrderConfirmed("O1", DAY, 500), analytics.OrderCancelled("O2", DAY, 300))
            rows = await harness.fetch("select outcome, orders, pence from analytics_days order by outcome")
            assert rows == [("cancelled", 1, 300), ("confirmed", 1, 500), ("placed", 2, 800)]
