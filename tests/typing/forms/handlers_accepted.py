"""Handlers as users write them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from antiphon import (
    Asker,
    Delivery,
    EventKind,
    Key,
    Message,
    Publisher,
    Replica,
    Retry,
    Service,
    Struct,
    Transaction,
    event,
)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    total: Decimal


@event(topic="orders")
class OrderCancelled(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentDeclined(Struct, frozen=True):
    order_id: Key[str]
    reason: str


@event(topic="notes", kind=EventKind.NOTIFICATION)
class OrderChanged(Struct, frozen=True):
    order_id: Key[str]


@event(topic="products", kind=EventKind.STATE_TRANSFER)
class ProductListed(Struct, frozen=True):
    sku: Key[str]
    price: Decimal


class Gateway:
    async def charge(self, order_id: str) -> bool:
        return bool(order_id)


class Details(Struct, frozen=True):
    address: str


one = Service("one", policy=Retry(immediate=5))
two = Service("two")
three = Service("three")
products: Replica[ProductListed] = two.replica(ProductListed)


@one.on(OrderPlaced)
async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised | PaymentDeclined | None:
    await tx.execute("insert into ledger values (?)", order.order_id)
    listed: ProductListed | None = await products.get(tx, order.order_id)
    count: int | None = await tx.fetch_one("select count(*) from ledger", row=int)
    return PaymentAuthorised(order.order_id) if listed and count else None


@one.on(OrderCancelled, guarantee="effectively_once", transaction="own", newer="park", policy=Retry(immediate=0))
async def cancel(order: OrderCancelled, gateway: Gateway, tx: Transaction) -> list[PaymentDeclined]:
    await gateway.charge(order.order_id)
    return [PaymentDeclined(order.order_id, "cancelled")]


@one.provides
async def gateway() -> AsyncIterator[Gateway]:
    yield Gateway()


@two.on(PaymentAuthorised, PaymentDeclined, order=None)
async def note(payment: PaymentAuthorised | PaymentDeclined, message: Message, delivery: Delivery) -> None:
    print(payment.order_id, message.correlation_id, delivery.attempt)


@two.on(OrderPlaced, publishes=(PaymentDeclined,))
async def by_hand(order: OrderPlaced, publisher: Publisher) -> None:
    await publisher.publish(PaymentDeclined(order.order_id, "by hand"), key="other")
    await publisher.publish(PaymentDeclined(order.order_id, "later"), delay=timedelta(days=3), deadline=None)


@two.fetches(OrderChanged)
async def details(note: OrderChanged) -> Details:
    return Details(note.order_id)


@two.on(OrderChanged)
async def changed(note: OrderChanged, details: Details) -> None:
    print(note.order_id, details.address)


@three.on(OrderPlaced)
def plain(order: OrderPlaced) -> Iterator[PaymentAuthorised]:
    yield PaymentAuthorised(order.order_id)


@three.on_batch(OrderCancelled, size=50, wait=timedelta(milliseconds=5))
async def many(orders: list[OrderCancelled], tx: Transaction) -> None:
    await tx.execute_many("insert into gone values (?)", [(order.order_id,) for order in orders])


@three.on(PaymentDeclined)
async def generated(payment: PaymentDeclined) -> AsyncIterator[OrderCancelled]:
    yield OrderCancelled(payment.order_id)


async def embed() -> None:
    async with one as running:
        await running.publish(OrderPlaced("1", Decimal(1)))
        await running.publish(OrderPlaced("2", Decimal(1)), at=datetime(2026, 1, 31, tzinfo=UTC), key="2")
        await running.publish_all([OrderPlaced("3", Decimal(1))], deadline=timedelta(hours=1))


answering = Service("answering")


@answering.answers(OrderPlaced, transaction="own")
async def answer(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
    return PaymentAuthorised(order.order_id)


@answering.answers(OrderChanged)
def answer_plainly(order: OrderChanged) -> PaymentDeclined:
    return PaymentDeclined(order.order_id, "never")


@answering.on(OrderCancelled)
async def ask_first(order: OrderCancelled, asker: Asker) -> PaymentDeclined:
    paid = await asker.ask(OrderPlaced(order.order_id, Decimal(1)), PaymentAuthorised, within=timedelta(seconds=2))
    return PaymentDeclined(paid.order_id, "canceled")
