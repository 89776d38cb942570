"""Log and store that were restored to different moments: what is repeated, what is lost, and how it is mended."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import SeekTo
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.outbox import stage
from antiphon.storage.sqlite import SqliteDatabase

LEDGER = "create table if not exists ledger (order_id text not null)"
WRITE = "insert into ledger (order_id) values (?)"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]


class Shop:
    """Payments are taken and told of; the books write down what they are told. Each has a store beside the log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.composer = Composer("till", SystemClock())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[EmbeddedBroker, SqliteDatabase, SqliteDatabase]]:
        """Log and stores, while no service runs."""
        broker = EmbeddedBroker(self.folder / "log.db")
        stores = [SqliteDatabase(self.folder / f"{name}.db") for name in ("payments", "books")]
        for each in (broker, *stores):
            await each.open()
        yield broker, stores[0], stores[1]
        for each in (*stores, broker):
            await each.close()

    async def place(self, numbers: Iterable[int]) -> None:
        async with self.open() as (broker, _, _):
            await broker.publish([self.composer.first(OrderPlaced(f"o-{number}")) for number in numbers])

    async def work(self) -> None:
        """Run the services until nothing is left to do."""
        async with self.open() as (broker, *stores):
            settings = Settings(common=ServiceSettings(broker=broker.url))
            services = [taking_payments(), keeping_books()]
            for service, store in zip(services, stores, strict=True):
                async with store.transaction() as tx:
                    await tx.execute(LEDGER)
                await service.start(broker, settings, None, store)
            async with asyncio.timeout(30):
                # Twice, since what the first one publishes may reach the second after that was looked at.
                while not all([await service.caught_up() for service in (*services, *services)]):  # noqa: ASYNC110 - there is nothing to be told by
                    await asyncio.sleep(0.01)
            for service in services:
                await service.stop()

    def save(self, name: str) -> None:
        """As `.backup` of SQLite does."""
        copy(self.folder / f"{name}.db", self.folder / f"{name}.saved")

    def restore(self, name: str) -> None:
        for path in self.folder.glob(f"{name}.db*"):
            if path.is_file():
                path.unlink()
        copy(self.folder / f"{name}.saved", self.folder / f"{name}.db")

    async def taken(self) -> Counter[str]:
        async with self.open() as (_, payments, _):
            return Counter(await payments.fetch("select order_id from ledger", row=str))

    async def booked(self) -> Counter[str]:
        async with self.open() as (_, _, books):
            return Counter(await books.fetch("select order_id from ledger", row=str))

    async def told(self) -> Counter[tuple[str | None, str]]:
        """How often each payment is in the log, by key and id."""
        async with self.open() as (broker, _, _):
            found = await broker.browse("payments", SeekTo.START, 10_000)
            return Counter((each.message.key, each.message.id) for each in found)


def taking_payments() -> Service:
    service = Service("payments")

    @service.on(OrderPlaced, guarantee="effectively_once")
    async def take(order: OrderPlaced, tx: Transaction) -> PaymentTaken:
        await tx.execute(WRITE, order.order_id)
        return PaymentTaken(order.order_id)

    return service


def keeping_books() -> Service:
    service = Service("books")

    @service.on(PaymentTaken, guarantee="effectively_once")
    async def book(payment: PaymentTaken, tx: Transaction) -> None:
        await tx.execute(WRITE, payment.order_id)

    return service


def copy(path: Path, to: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def once(numbers: Iterable[int]) -> dict[str, int]:
    return {f"o-{number}": 1 for number in numbers}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def test_a_store_older_than_the_log_lacks_effects_until_the_group_is_sent_back_and_then_has_all_once(
    shop: Shop,
) -> None:
    await shop.place(range(50))
    await shop.work()
    async with shop.open() as (_, payments, _), payments.transaction() as tx:
        by_hand = Composer("office", SystemClock()).first(PaymentTaken("o-by-hand"))
        await stage(tx, [by_hand], SystemClock().now())
    shop.save("payments")
    await shop.place(range(50, 100))
    await shop.work()
    assert await shop.taken() == once(range(100))
    shop.restore("payments")
    await shop.work()
    assert await shop.taken() == once(range(50))
    assert (await shop.told())["o-by-hand", by_hand.message.id] == 2
    async with shop.open() as (broker, _, _):
        await broker.seek("payments", "orders", SeekTo.START)
    await shop.work()
    assert await shop.taken() == once(range(100))
    assert await shop.booked() == {**once(range(100)), "o-by-hand": 1}
    told = await shop.told()
    assert len(told) == 101
    assert {key for key, number in told.items() if number == 2} == {
        (key, id) for key, id in told if key == "o-by-hand" or int(str(key).removeprefix("o-")) >= 50
    }


async def test_a_log_older_than_the_store_has_lost_what_came_after_it_and_repeats_nothing(shop: Shop) -> None:
    await shop.place(range(50))
    await shop.work()
    await shop.place(range(50, 60))
    shop.save("log")
    await shop.work()
    await shop.place(range(60, 100))
    await shop.work()
    shop.restore("log")
    await shop.work()
    assert await shop.taken() == once(range(100))
    assert await shop.booked() == once(range(100))
    assert Counter(key for key, _ in await shop.told()) == once(range(50))
    await shop.place(range(100, 120))
    await shop.work()
    assert await shop.taken() == once(range(120))
    assert await shop.booked() == once(range(120))


async def test_stores_that_were_saved_before_the_log_miss_nothing_after_a_seek(shop: Shop) -> None:
    """Each was saved at a moment of its own, while the others went on."""
    await shop.place(range(20))
    await shop.work()
    shop.save("books")
    await shop.place(range(20, 40))
    await shop.work()
    shop.save("payments")
    await shop.place(range(40, 60))
    await shop.work()
    shop.save("log")
    await shop.place(range(60, 80))
    await shop.work()
    for name in ("log", "payments", "books"):
        shop.restore(name)
    async with shop.open() as (broker, _, _):
        await broker.seek("payments", "orders", SeekTo.START)
        await broker.seek("books", "payments", SeekTo.START)
    await shop.work()
    assert await shop.taken() == once(range(60))
    assert await shop.booked() == once(range(60))
