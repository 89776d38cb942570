"""A process that is killed around a commit of a session: each order has one entry, and one event under one id."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

from antiphon import Service, connect
from antiphon.runtime.settings import load_settings
from antiphon.storage.connect import connect_store
from antiphon.storage.outbox import is_outbox_empty
from tests.integration.sessions.conftest import until
from tests.integration.sessions.kinds import OrderPlaced
from tests.torture.killing import victim

ORDERS = [f"o-{number}" for number in range(6)]
MODULE = "tests.integration.sessions.victim"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_killed_around_the_commit_has_its_effects_once(way, ledger, tmp_path, when):
    log = f"embedded:///{tmp_path}/log.db"
    broker = connect(log)
    till = Service("till", broker=broker)
    await till.start(settings=load_settings({}, {}, tmp_path))
    await till.publish_all([OrderPlaced(each) for each in ORDERS])
    store = connect_store(ledger)
    await store.open()
    try:
        with victim(way[1], ledger, log, when, module=MODULE) as killed:
            assert await asyncio.to_thread(killed.wait, 60) == -signal.SIGKILL
        done = 2 if when == "before" else 3
        assert len(await store.fetch("select order_id from ledger")) == done
        with victim(way[1], ledger, log, "never", module=MODULE):
            await until(lambda: _is_done(broker, store))
        assert Counter(await store.fetch("select order_id from ledger", row=str)) == Counter(ORDERS)
        events = {each.message.id: each.message.key for each in await broker.browse("payments", {}, 100)}
        assert Counter(events.values()) == Counter(ORDERS)
    finally:
        await store.close()
        await till.stop()
        await broker.close()


async def _is_done(broker, store):
    lags = await broker.lag("payments")
    entries = await store.fetch("select order_id from ledger")
    return bool(lags) and not any(lag.messages for lag in lags) and len(entries) >= 6 and await is_outbox_empty(store)
