"""A process that is killed around a commit of a session: each order has one entry, and one event under one id."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

from antiphon import Service, connect
from antiphon.runtime.settings import load_settings
from antiphon.storage.connect import connect_store
from antiphon.storage.outbox import is_outbox_empty
from tests.integration.sessions.conftest import until
from tests.integration.sessions.kinds import ON_POSTGRES, ON_SQLITE, POSTGRES_LEDGER, SQLITE_LEDGER, OrderPlaced
from tests.torture.killing import victim

ORDERS = [f"o-{number}" for number in range(6)]
MODULE = "tests.integration.sessions.victim"
TIMES = {"before": 2, "after": 3}
"""How many orders are done when the process dies before, and after, its third commit."""


async def test_a_process_killed_around_a_commit_on_sqlite_has_its_effects_once(tmp_path):
    cases = [(kind, when) for kind in ON_SQLITE for when in TIMES]
    # Side by side, since most of it is waiting until the leases of the dead are over.
    await asyncio.gather(*(_die(*case, f"sqlite:///{_folder(tmp_path, *case)}/shop.db", tmp_path) for case in cases))


async def test_a_process_killed_around_a_commit_on_postgresql_has_its_effects_once(postgres_url, tmp_path):
    cases = [(kind, when) for kind in ON_POSTGRES for when in TIMES]
    stores = [f"{postgres_url[:-12]}_{number}" for number in range(len(cases))]
    await asyncio.gather(*(_die(*case, store, tmp_path) for case, store in zip(cases, stores, strict=True)))


def _folder(tmp_path, kind, when):
    folder = tmp_path / f"{kind}-{when}"
    folder.mkdir(exist_ok=True)
    return folder


async def _die(kind, when, store_url, tmp_path):
    """Let one process die, and another one go on; then count."""
    log = f"embedded:///{_folder(tmp_path, kind, when)}/log.db"
    broker = connect(log)
    till = Service("till", broker=broker)
    await till.start(settings=load_settings({}, {}, tmp_path))
    await till.publish_all([OrderPlaced(each) for each in ORDERS])
    store = await _with_ledger(store_url)
    try:
        with victim(kind, store_url, log, when, module=MODULE) as killed:
            assert await asyncio.to_thread(killed.wait, 60) == -signal.SIGKILL
        assert len(await store.fetch("select order_id from ledger")) == TIMES[when], (kind, when)
        with victim(kind, store_url, log, "never", module=MODULE):
            await until(lambda: _is_done(broker, store))
        assert Counter(await store.fetch("select order_id from ledger", row=str)) == Counter(ORDERS), (kind, when)
        events = {each.message.id: each.message.key for each in await broker.browse("payments", {}, 100)}
        assert Counter(events.values()) == Counter(ORDERS), (kind, when)
    finally:
        await store.close()
        await till.stop()
        await broker.close()


async def _with_ledger(url):
    store = connect_store(url)
    await store.open()
    async with store.transaction() as tx:
        await tx.execute(SQLITE_LEDGER if url.startswith("sqlite") else POSTGRES_LEDGER)
    return store


async def _is_done(broker, store):
    lags = await broker.lag("payments")
    entries = await store.fetch("select order_id from ledger")
    return bool(lags) and not any(lag.messages for lag in lags) and len(entries) >= 6 and await is_outbox_empty(store)
