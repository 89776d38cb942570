"""A service whose tables are on PostgreSQL and whose log is elsewhere handles each message once, whatever fails."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from antiphon import Key, Retry, Service, Struct, Transaction, connect, event
from antiphon.brokers.ports import SeekTo
from antiphon.runtime.settings import load_settings
from antiphon.storage.dead_letters import LetterQuery, find
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.set_aside import counts

SOON = Retry(immediate=0, delayed=3, first_delay=timedelta(milliseconds=20), factor=1.0)
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'service_under_test'"


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    pence: int


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


def paying(broker, store, **options):
    payments = Service("payments", broker=broker, store=store, migrations="service_migrations", **options)

    @payments.on(OrderPlaced)
    async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
        await tx.execute("insert into ledger (order_id, pence) values (?, ?)", order.order_id, order.pence)
        return OrderPaid(order.order_id)

    return payments


@asynccontextmanager
async def running(service, tmp_path):
    await service.start(settings=load_settings({}, {}, tmp_path))
    try:
        yield service
    finally:
        await service.stop()


async def until(done):
    async with asyncio.timeout(100):
        while not await done():
            await asyncio.sleep(0.02)


@pytest.fixture
async def broker(tmp_path):
    broker = connect(f"embedded:///{tmp_path}/log.db")
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def store(postgres_url):
    store = PostgresDatabase(postgres_url)
    await store.open()
    yield store
    await store.close()


async def published(broker, topic):
    """How often each key was published."""
    return Counter(delivery.message.key for delivery in await broker.browse(topic, SeekTo.START, 10_000))


async def are_published(broker, count):
    return len(await published(broker, "payments")) == count


async def test_each_message_has_its_row_and_its_event_once(broker, store, tmp_path):
    service = paying(broker, store)
    async with running(service, tmp_path):
        for number in range(300):
            await service.publish(OrderPlaced(f"o-{number}", number))
        await until(service.caught_up)
        rows = await store.fetch("select order_id, count(*) from ledger group by order_id")
        assert len(rows) == 300
        assert {count for _, count in rows} == {1}
        await until(lambda: are_published(broker, 300))
    assert await published(broker, "payments") == {f"o-{number}": 1 for number in range(300)}


async def test_what_a_handler_breaks_is_undone_alone_and_parked(broker, store, tmp_path):
    service = paying(broker, store, policy=Retry(immediate=0, delayed=0))
    async with running(service, tmp_path):
        for number in range(60):
            await service.publish(OrderPlaced(f"o-{number}", -1 if number % 20 == 7 else number))
        await until(service.caught_up)
        assert await store.fetch("select count(*) from ledger") == [(57,)]
        letters = await find(store, LetterQuery(), 10)
        assert sorted(each.letter.message.key for each in letters) == ["o-27", "o-47", "o-7"]
        assert "violates check constraint" in letters[0].letter.attempts[-1].text


async def test_what_fails_is_tried_again_later_and_then_handled(broker, store, tmp_path):
    service = Service("payments", broker=broker, store=store, policy=SOON)
    failures = Counter[str]()

    @service.on(OrderPlaced)
    async def pay(order: OrderPlaced, tx: Transaction) -> None:
        failures[order.order_id] += 1
        if failures[order.order_id] < 3:
            raise ConnectionError

    async with running(service, tmp_path):
        for number in range(20):
            await service.publish(OrderPlaced(f"o-{number % 5}", number))
        await until(lambda: _all_handled(service, store))
    assert await find(store, LetterQuery(), 10) == []


async def _all_handled(service, store):
    return await service.caught_up() and not any((await counts(store, "payments")).values())


async def test_while_connections_are_cut_nothing_is_lost_and_nothing_done_twice(broker, store, postgres_url, tmp_path):
    own = PostgresDatabase(postgres_url + "&application_name=service_under_test")
    service = paying(broker, own)
    async with running(service, tmp_path):
        for number in range(400):
            await service.publish(OrderPlaced(f"o-{number}", number))
            if number % 40 == 0:
                await store.fetch(CUT)
        await until(service.caught_up)
        await until(lambda: are_published(broker, 400))
    rows = await store.fetch("select order_id, count(*) from ledger group by order_id")
    assert len(rows) == 400
    assert {count for _, count in rows} == {1}
    await own.close()


async def test_two_that_share_group_log_and_store_do_everything_once_and_in_order(broker, postgres_url, tmp_path):
    stores = [PostgresDatabase(postgres_url) for _ in range(2)]
    brokers = [broker, connect(f"embedded:///{tmp_path}/log.db")]
    services = [paying(broker, store) for broker, store in zip(brokers, stores, strict=True)]
    async with running(services[0], tmp_path), running(services[1], tmp_path):
        for number in range(400):
            await services[number % 2].publish(OrderPlaced(f"o-{number}", number))
        for service in services:
            await until(service.caught_up)
        await until(lambda: are_published(broker, 400))
        rows = await stores[0].fetch("select order_id, count(*) from ledger group by order_id")
        assert len(rows) == 400
        assert {count for _, count in rows} == {1}
        assert await stores[0].fetch("select count(*) from antiphon_outbox") == [(0,)]
    assert set((await published(broker, "payments")).values()) == {1}
    for each in (*stores, brokers[1]):
        await each.close()
