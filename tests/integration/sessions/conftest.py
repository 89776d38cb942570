"""A store of each kind with a ledger in it, and services that keep it over each kind of session."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from antiphon import Retry, Service
from antiphon.brokers.memory import MemoryBroker
from antiphon.runtime.settings import load_settings
from antiphon.storage.connect import connect_store
from antiphon.storage.dead_letters import list_parked
from tests.integration.sessions.kinds import (
    ON_POSTGRES,
    ON_SQLITE,
    POSTGRES_LEDGER,
    SQLITE_LEDGER,
    Fault,
    OrderPaid,
    OrderPlaced,
    ready,
)

WAYS = [*(("sqlite", kind) for kind in ON_SQLITE), *(("postgres", kind) for kind in ON_POSTGRES)]
PATIENCE = 30
FAST = Retry(immediate=1, delayed=0)


async def until(done):
    async with asyncio.timeout(PATIENCE):
        while not await done():  # noqa: ASYNC110 - a service is caught up when it says so, and sets no event
            await asyncio.sleep(0.01)


class Shop:
    """A service that is paid over one kind of session, and one that hears of it."""

    def __init__(self, broker, store_url, setup, folder, fault, *, once_by=None, drain="30s", **options):
        self.settings = load_settings({"drain_timeout": drain}, {}, folder)
        self.broker, self.fault = broker, fault
        given = {"policy": FAST, **options}
        self.payments = Service("payments", broker=broker, store=store_url, sessions=setup.sessions, **given)
        by = {} if once_by is None else {"once_by": once_by}
        self.payments.on(OrderPlaced, guarantee="effectively_once", **by)(setup.handler)
        self.letters = Service("letters", broker=broker)
        self.heard = Counter()

        @self.letters.on(OrderPaid)
        async def hear(paid: OrderPaid) -> None:
            self.heard[paid.order_id] += 1

    async def settle(self):
        """Return once everything is handled, and what was emitted is heard of."""
        await until(self._are_caught_up)

    async def _are_caught_up(self):
        return await self.payments.caught_up() and await self.letters.caught_up()

    async def place(self, *orders):
        await self.payments.publish_all([OrderPlaced(each) for each in orders])
        await self.settle()

    async def entries(self):
        return Counter(await self.payments.store.fetch("select order_id from ledger", row=str))

    async def marks(self):
        return (await self.payments.store.fetch("select count(*) from antiphon_inbox", row=int))[0]

    async def parked(self):
        return {letter.message.key: letter for letter in await list_parked(self.payments.store)}


@pytest.fixture(params=WAYS, ids="-".join)
def way(request):
    """The kind of store, and the kind of session on it."""
    return request.param


@pytest.fixture
def store_url(way, tmp_path, request):
    return request.getfixturevalue("postgres_url") if way[0] == "postgres" else f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
async def ledger(way, store_url):
    """The store's URL, once the ledger is in it."""
    store = connect_store(store_url)
    await store.open()
    async with store.transaction() as tx:
        await tx.execute(POSTGRES_LEDGER if way[0] == "postgres" else SQLITE_LEDGER)
    await store.close()
    return store_url


@pytest.fixture
def fault():
    return Fault()


@pytest.fixture
async def setup(way, ledger, fault):
    async with ready(way[1], ledger, fault) as made:
        yield made


@asynccontextmanager
async def opened(shop):
    await shop.payments.start(settings=shop.settings)
    await shop.letters.start(settings=shop.settings)
    try:
        yield shop
    finally:
        await shop.payments.stop()
        await shop.letters.stop()


@pytest.fixture
async def broker():
    broker = MemoryBroker()
    yield broker
    await broker.close()
    await broker.database.close()


@pytest.fixture
async def shop(setup, ledger, tmp_path, broker, fault):
    async with opened(Shop(broker, ledger, setup, tmp_path, fault)) as shop:
        yield shop
