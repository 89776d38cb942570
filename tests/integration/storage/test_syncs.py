"""Every confirmed commit waits for the disk, once: SIGKILL does not test that, so the syncs themselves are counted."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from antiphon import Key, Service, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.sqlite import SqliteDatabase
from tests.integration.embedded.messages import a_batch
from tests.integration.storage.syncs import Syncs, counted_syncs

LEASE = timedelta(hours=1)
"""No heartbeat is written while a test counts."""


@pytest.fixture
def syncs() -> Iterator[Syncs]:
    with counted_syncs() as counted:
        yield counted


@event(topic="counted-orders")
class Counted(Struct, frozen=True):
    """An order whose handling is counted in syncs."""

    order_id: Key[str]


@event(topic="counted-payments")
class Paid(Struct, frozen=True):
    """What follows it."""

    order_id: Key[str]


async def caught_up(service: Service) -> None:
    async with asyncio.timeout(10):
        while True:
            if await service.caught_up():
                return
            await asyncio.sleep(0.002)


async def test_a_commit_is_one_sync_and_a_read_or_a_rollback_none(tmp_path: Path, syncs: Syncs) -> None:
    database = SqliteDatabase(tmp_path / "log.db")
    await database.open()
    async with database.transaction() as tx:
        await tx.execute("create table ledger (entry text)")
    for _ in range(3):
        before = syncs.of_log()
        async with database.transaction() as tx:
            for number in range(100):
                await tx.execute("insert into ledger values (?)", str(number))
            await tx.fetch("select count(*) from ledger")
        assert syncs.of_log() - before == 1
        await database.fetch("select count(*) from ledger")
        tx = await database.begin()
        await tx.execute("insert into ledger values ('undone')")
        await tx.rollback()
        assert syncs.of_log() - before == 1
    await database.close()


async def test_a_confirmed_batch_is_one_sync_and_reading_it_none(tmp_path: Path, syncs: Syncs) -> None:
    broker = EmbeddedBroker(tmp_path / "log.db", lease=LEASE)
    await broker.open()
    subscription = await broker.subscribe("readers", ["orders"])
    await broker.publish(a_batch("orders", 1))
    for size in (1, 10, 1000):
        before = syncs.of_log()
        await broker.publish(a_batch("orders", size))
        assert syncs.of_log() - before == 1
        deliveries = await subscription.fetch(2000, 1 << 24, timedelta(seconds=1))
        await broker.browse("orders", {}, 10)
        await broker.lag("readers")
        assert len(deliveries) >= size
        assert syncs.of_log() - before == 1
        await subscription.commit({delivery.partition: delivery.position for delivery in deliveries})
        assert syncs.of_log() - before == 2
    await broker.close()


async def test_a_shared_transaction_is_one_sync_for_all_its_messages(tmp_path: Path, syncs: Syncs) -> None:
    broker = EmbeddedBroker(tmp_path / "log.db", lease=LEASE)
    service = Service("syncing")
    commits: list[tuple[int, int]] = []

    @service.on(Counted, guarantee="effectively_once")
    async def take(order: Counted, tx: Transaction) -> Paid:
        tx.after_commit(lambda: commits.append((broker.database.counters.commits, syncs.of_log())))
        return Paid(order.order_id)

    await broker.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)))
    for _ in range(5):
        await service.publish_all([Counted(f"order-{number}") for number in range(100)])
        await caught_up(service)
    await service.stop()
    await broker.close()
    assert len(commits) == 500
    (first_commit, first_sync), (last_commit, last_sync) = commits[0], commits[-1]
    assert last_commit - first_commit == last_sync - first_sync
    assert 5 <= len(set(commits)) <= 25


async def test_every_connection_that_writes_waits_for_the_disk_and_the_others_cannot_write(
    tmp_path: Path, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noting(*args: object, **options: object) -> sqlite3.Connection:
        made.append(connect(*args, **options))  # type: ignore[call-overload]
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", noting)
    broker = EmbeddedBroker(tmp_path / "log.db", lease=LEASE)
    await broker.open()
    await broker.subscribe("readers", ["orders"])
    await broker.publish(a_batch("orders", 10))
    writing = [each for each in made if each.execute("pragma query_only").fetchone() == (0,)]
    assert len(writing) == 1
    assert len(made) == 2
    for connection in writing:
        assert connection.execute("pragma synchronous").fetchone() == (2,)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    await broker.close()


async def test_the_count_can_fail(tmp_path: Path, syncs: Syncs) -> None:
    """The control: a connection that does not wait for the disk is seen not to."""
    for synchronous, expected in (("full", 1), ("normal", 0), ("off", 0)):
        connection = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table if not exists ledger (entry text)")
        connection.execute(f"pragma synchronous = {synchronous}")
        connection.execute("insert into ledger values ('a')")
        before = syncs.of_log()
        connection.execute("insert into ledger values ('b')")
        assert syncs.of_log() - before == expected
        connection.close()
