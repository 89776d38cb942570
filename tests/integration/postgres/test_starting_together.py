"""Many that start at the same moment are in each other's way, and all of them start nevertheless."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.events.clock import SystemClock
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.runtime.sending import Sending
from antiphon.runtime.settings import load_settings
from antiphon.runtime.suspicion import Suspicion
from antiphon.storage import runs
from antiphon.storage.database import Migration
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.runs import Process, Run, begin_run, list_runs
from antiphon.storage.set_aside import RetryStore
from tests.integration.outbox.relaying import until

COUNT = 8
STRICT = ["repeatable-read", "serializable"]
HOUR = timedelta(hours=1)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture(params=STRICT)
async def stores(request, postgres_url):
    """The database as so many processes have it, each with a connection for every hand."""
    async with AsyncExitStack() as stack:
        stores = [PostgresDatabase(f"{postgres_url}&isolation={request.param}") for _ in range(COUNT)]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        yield stores


def relay_of(store):
    broker, metrics = MemoryBroker(), Metrics(service="desk")
    sending = Sending("desk", broker, metrics, Hooks(metrics))
    return Relay(broker.publish, store, SystemClock(), metrics, sending)


def run_of(store, name):
    return Suspicion("payments", RetryStore("payments", name, timedelta(minutes=1)), store, SystemClock(), dict)


async def test_relays_do(stores):
    relays = [relay_of(store) for store in stores]
    await asyncio.gather(*(relay.start() for relay in relays))
    await asyncio.gather(*(relay.drain() for relay in relays))
    assert await stores[0].fetch("select count(*) from antiphon_outbox_relays", row=int) == [0]


async def test_runs_do_and_all_find_the_same_one_dead(stores, monkeypatch):
    long_ago = SystemClock().now() - HOUR
    dead = Run(
        id="dead",
        group="payments",
        service="payments",
        process=Process("elsewhere", 1, "once"),
        started_at=long_ago,
        heard_of=long_ago,
        status={},
    )
    async with stores[0].transaction() as tx:
        await begin_run(tx, dead)
        await runs.note_working(tx, "dead", ["a message"], alone=True)
    living = [run_of(store, f"run {number}") for number, store in enumerate(stores)]
    await asyncio.gather(*(run.start() for run in living))
    assert {run.id for run in await list_runs(stores[0])} == {f"run {number}" for number in range(COUNT)}
    assert all(run.careful for run in living)
    assert (await runs.suspects_of(stores[0], "payments")).crashes == {"a message": 1}
    await asyncio.gather(*(run.stop(HOUR) for run in living))
    assert await list_runs(stores[0]) == []


async def test_services_do(stores, tmp_path):
    log = f"embedded:///{tmp_path / 'log.db'}"
    services = [Service("payments", broker=log, store=store) for store in stores]
    handled: list[str] = []
    for service in services:

        @service.on(OrderPlaced)
        async def pay(order: OrderPlaced, tx: Transaction) -> None:
            tx.after_commit(lambda: handled.append(order.order_id))

    await asyncio.gather(*(service.start(settings=load_settings({}, {}, tmp_path)) for service in services))
    for number in range(COUNT):
        await services[0].publish(OrderPlaced(str(number)))
    await until(lambda: len(handled) == COUNT)
    await asyncio.gather(*(service.stop() for service in services))
    assert sorted(handled) == [str(number) for number in range(COUNT)]


async def test_a_migration_that_an_older_process_is_in_the_way_of_is_applied_nevertheless(postgres_url):
    """Each waits for what the other one holds, so that the server lets one of them fail: who loses patience first."""
    store = PostgresDatabase(postgres_url)
    await store.open()
    async with store.transaction() as tx:
        await tx.execute("create table first (pieces bigint)")
        await tx.execute("create table second (pieces bigint)")
    older = await store.begin()
    await older.execute("set local deadlock_timeout = '1min'")
    await older.fetch("select count(*) from second")
    wider = "alter table first add column sku text; alter table second add column sku text"
    migrating = asyncio.create_task(store.migrate("stock", [Migration(1, "widen", wider)]))
    waiting = "select 1 from pg_locks join pg_class on oid = relation where not granted and relname = 'second'"
    await until(lambda: _is_true(store, waiting))
    await older.fetch("select count(*) from first")
    await older.commit()
    await migrating
    assert not await store.missing("stock", [Migration(1, "widen", wider)])
    await store.close()


async def _is_true(store, sql):
    return bool(await store.fetch(sql))
