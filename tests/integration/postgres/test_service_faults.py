"""Whatever happens to its PostgreSQL, a running service loses nothing, does nothing twice, and goes on by itself."""

import asyncio
import logging
import re
from collections import Counter
from contextlib import asynccontextmanager

import psycopg
import pytest

from antiphon import Key, Service, Struct, Transaction, connect, event
from antiphon.brokers.ports import SeekTo
from antiphon.errors import StoreUnavailableError
from antiphon.runtime.health import readiness
from antiphon.runtime.settings import load_settings
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.outbox import is_outbox_empty
from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.servers import PostgresServer
from tests.integration.postgres.cutting import road_to
from tests.integration.postgres.guarding import WAYS, Gate, guard, shops

BOOK = "insert into ledger (order_id, pence) values (?, ?)"
FULL = """
create function refuse() returns trigger language plpgsql as $$
begin raise exception 'could not extend file' using errcode = '53100'; end $$;
create trigger full_disk before insert on ledger for each row execute function refuse();
"""


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    pence: int


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


class Calls:
    """A handler's, and what is to happen in them."""

    def __init__(self):
        self.count = 0
        self.each = lambda: None

    def made(self):
        self.count += 1
        self.each()


def paying(broker, store, calls, **options):
    payments = Service("payments", broker=broker, store=store, migrations="service_migrations")

    @payments.on(OrderPlaced, **options)
    async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
        await tx.execute(BOOK, order.order_id, order.pence)
        calls.made()
        return OrderPaid(order.order_id)

    return payments


@asynccontextmanager
async def running(*services, folder):
    for service in services:
        await service.start(settings=load_settings({}, {}, folder))
    try:
        yield
    finally:
        for service in services:
            await service.stop()


@asynccontextmanager
async def opened(url):
    store = PostgresDatabase(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def broker(tmp_path):
    broker = connect(f"embedded:///{tmp_path}/log.db")
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def store(postgres_url):
    async with opened(postgres_url) as store:
        yield store


@pytest.fixture(scope="module")
def mortal():
    """A server that may be stopped."""
    with PostgresServer() as server:
        yield server


async def until(done):
    async with asyncio.timeout(60):
        while not await known(done):
            await asyncio.sleep(0.02)


async def known(done):
    """Whether it is, as far as the store can be asked."""
    try:
        return await done()
    except StoreUnavailableError:
        return False


async def place(service, numbers):
    await service.publish_all([OrderPlaced(f"o-{number}", number) for number in numbers])


async def until_done(service, store):
    await until(service.caught_up)
    await until(lambda: is_outbox_empty(store))


async def assert_each_once(broker, store, count):
    """One row each, and one event each, which a relay may have published again under its id."""
    rows = await store.fetch("select order_id from ledger", row=str)
    assert Counter(rows) == {f"o-{number}": 1 for number in range(count)}
    told = {(each.message.key, each.message.id) for each in await broker.browse("payments", SeekTo.START, 10_000)}
    assert Counter(key for key, _ in told) == Counter(rows)
    assert await list_parked(store) == []


@pytest.mark.parametrize("mode", ["shared", "own"])
async def test_while_the_database_is_down_little_is_said_and_then_everything_takes_effect_once(
    mortal, broker, tmp_path, caplog, mode
):
    calls = Calls()
    options = {"transaction": "own"} if mode == "own" else {}
    async with opened(f"{mortal.url}?schema=down_{mode}&patience=20s") as store:
        service = paying(broker, store, calls, **options)
        async with running(service, folder=tmp_path):
            await place(service, range(200))
            mortal.kill()
            await place(service, range(200, 300))
            with caplog.at_level(logging.WARNING):
                await asyncio.sleep(3)
            assert len(caplog.records) < 60
            mortal.start()
            await until_done(service, store)
            await assert_each_once(broker, store, 300)


@pytest.mark.parametrize("hands", ["ours", "drivers"])
async def test_a_store_that_lets_us_in_no_more_is_named_and_everything_takes_effect_once_it_does_again(
    mortal, broker, tmp_path, hands
):
    guard(mortal)
    calls = Calls()
    async with shop_of(mortal) as gate, opened(shops(mortal, f"shut_{hands}")) as store:
        service = paying(broker, store, calls) if hands == "ours" else paying_by_hand(broker, store, calls)

        async def is_named():
            return any(gate.way.said in problem for problem in readiness([service.health]).problems)

        async with running(service, folder=tmp_path):
            await place(service, range(100))
            await gate.shut()
            await place(service, range(100, 200))
            await until(is_named)
            assert service.health.state == "running"
            await gate.open()
            await until_done(service, store)
            await until(lambda: is_ready(service))
            await assert_each_once(broker, store, 200)


@asynccontextmanager
async def shop_of(server):
    async with opened(server.url) as admin:
        gate = Gate(admin, WAYS["expired"])
        await gate.make()
        yield gate


async def is_ready(service):
    return readiness([service.health]).ok


def paying_by_hand(broker, store, calls):
    payments = Service("payments", broker=broker, store=store, migrations="service_migrations")

    @payments.on(OrderPlaced)
    async def pay(order: OrderPlaced, connection: psycopg.AsyncConnection) -> OrderPaid:
        await connection.execute(BOOK.replace("?", "%s"), [order.order_id, order.pence])
        calls.made()
        return OrderPaid(order.order_id)

    return payments


async def test_a_commit_that_was_made_and_whose_answer_was_lost_takes_effect_once(broker, postgres_url, tmp_path):
    port = int(re.search(r":(\d+)/", postgres_url)[1])
    calls = Calls()
    async with (
        road_to(port) as (road, start),
        opened(postgres_url) as seen,
        opened(postgres_url.replace(f":{port}/", f":{start}/")) as store,
    ):
        service = paying(broker, store, calls)
        async with running(service, folder=tmp_path):
            calls.each = lambda: setattr(road, "holding", calls.count == 10)
            await place(service, range(10))
            await until(lambda: has_rows(seen, 10))
            calls.each = lambda: None
            road.cut()
            road.holding = False
            await until_done(service, seen)
            await assert_each_once(broker, seen, 10)
    assert road.held.is_set()
    assert calls.count == 10


async def has_rows(store, count):
    return await store.fetch("select count(*) from ledger") == [(count,)]


async def test_a_commit_that_was_cut_before_it_was_made_is_made_again(broker, postgres_url, tmp_path):
    """The server is told to give up its connection while it commits."""
    slow = """
    create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end $$;
    create constraint trigger slow after insert on ledger deferrable initially deferred
        for each row execute function dawdle();
    """
    calls = Calls()
    async with opened(postgres_url) as seen, opened(f"{postgres_url}&application_name=cut_at_commit") as store:
        service = paying(broker, store, calls)
        async with running(service, folder=tmp_path):
            async with seen.transaction() as tx:
                await tx.run_script(slow)
            await place(service, range(10))
            await until(lambda: is_cut(seen))
            async with asyncio.timeout(20):
                await undo(seen, "drop trigger slow on ledger")
            await until_done(service, seen)
            await assert_each_once(broker, seen, 10)
    assert calls.count > 10, "what was cut was handled again"


async def is_cut(store):
    """Cut the connections that commit; whether there were any."""
    return await store.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cut_at_commit' "
        "and state = 'active' and query like 'commit%'"
    )


async def undo(store, statement):
    """Once nobody is in the way."""
    while True:
        try:
            async with store.transaction() as tx:
                await tx.execute("set local lock_timeout = '50ms'")
                await tx.execute(statement)
                return
        except StoreUnavailableError:
            await store.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cut_at_commit'"
            )


async def test_of_two_handlers_that_wait_for_each_other_one_is_run_again(broker, store, tmp_path):
    calls, both = Calls(), asyncio.Barrier(2)
    add = "update ledger set pence = pence + 1 where order_id = ? returning 1"

    def adding(name, first, second):
        service = Service(name, broker=broker, store=store)

        @service.on(OrderPlaced, transaction="own")
        async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
            calls.made()
            is_first = calls.count <= 2
            await tx.fetch(add, first)
            if is_first:
                await both.wait()
            await tx.fetch(add, second)
            return OrderPaid(f"{order.order_id}-{name}")

        return service

    services = adding("one", "a", "b"), adding("other", "b", "a")
    async with store.transaction() as tx:
        await tx.execute("create table ledger (order_id text, pence integer)")
        await tx.execute_many(BOOK, [("a", 0), ("b", 0)])
    async with running(*services, folder=tmp_path):
        await place(services[0], [0])
        for service in services:
            await until_done(service, store)
    assert calls.count == 3
    assert await store.fetch("select pence from ledger", row=int) == [2, 2]
    paid = await broker.browse("payments", SeekTo.START, 100)
    assert sorted(each.message.key for each in paid) == ["o-0-one", "o-0-other"]
    assert await list_parked(store) == []


async def test_what_could_not_have_happened_one_after_the_other_is_run_again(broker, postgres_url, tmp_path):
    """Each takes the next number: two that saw the same count cannot both be right."""
    count, calls = 30, Calls()
    async with opened(f"{postgres_url}&isolation=serializable") as store:
        service = Service("payments", broker=broker, store=store, migrations="service_migrations")

        @service.on(OrderPlaced, transaction="own")
        async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
            calls.made()
            (taken,) = await tx.fetch("select count(*) from ledger", row=int)
            await asyncio.sleep(0.005)
            await tx.execute(BOOK, order.order_id, taken)
            return OrderPaid(order.order_id)

        async with running(service, folder=tmp_path):
            await place(service, range(count))
            await until_done(service, store)
            assert sorted(await store.fetch("select pence from ledger", row=int)) == list(range(count))
            await assert_each_once(broker, store, count)
    assert calls.count > count


async def test_a_full_disk_of_the_server_is_waited_for(broker, store, tmp_path):
    service = paying(broker, store, Calls())
    async with running(service, folder=tmp_path):
        async with store.transaction() as tx:
            await tx.run_script(FULL)
        await place(service, range(20))
        await asyncio.sleep(0.3)
        assert not await service.caught_up()
        assert await list_parked(store) == []
        async with store.transaction() as tx:
            await tx.execute("drop trigger full_disk on ledger")
        await until_done(service, store)
    await assert_each_once(broker, store, 20)
