"""Relays that take turns at PostgreSQL's log go on where the other one stopped, and first starts share one slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg
import pytest

from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.ids import new_id
from antiphon.events.message import Outgoing
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.wal_outbox import WalOutbox, WalReader, slot_of
from tests.integration.outbox.relaying import until
from tests.integration.outbox.test_wal import NOON, said, texts

OUTBOX = WalOutbox()


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[list[PostgresDatabase]]:
    """The database as three processes have it, without a slot; one that is there in the end is dropped."""
    async with AsyncExitStack() as stack:
        stores = [PostgresDatabase(postgres_url) for _ in range(3)]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        yield stores
        await stores[0].fetch(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = ?",
            await slot_of(stores[0]),
        )


async def stage(store: PostgresDatabase, *each: str) -> None:
    """Each in a transaction of its own."""
    for text in each:
        async with store.transaction() as tx:
            await OUTBOX.stage(tx, [Outgoing("orders", said(text))], NOON)


async def publish(store: PostgresDatabase, reader: WalReader, most: int) -> list[str]:
    """What a relay publishes of one look, if it ends after so many."""
    staged, _ = await reader.next(OUTBOX.buckets, 100)
    async with store.transaction() as tx:
        await reader.forget(tx, [each.number for each in staged[:most]])
    return texts([each.outgoing for each in staged[:most]])


async def test_a_relay_that_has_the_lease_again_goes_on_behind_what_another_one_gave_up_meanwhile(
    stores: list[PostgresDatabase],
) -> None:
    await OUTBOX.make(stores[0])
    first, other = WalReader(stores[0]), WalReader(stores[1])
    await stage(stores[2], "1", "2", "3")
    assert await publish(stores[0], first, 1) == ["1"]
    # It loses the lease before it looks again; the other one could not know what it has published.
    assert await publish(stores[1], other, 3) == ["1", "2", "3"]
    assert await publish(stores[1], other, 3) == []
    await stage(stores[2], "4")
    assert await publish(stores[0], first, 3) == ["4"]
    assert await publish(stores[0], first, 3) == []


async def test_what_it_has_published_beyond_that_is_not_published_again(stores: list[PostgresDatabase]) -> None:
    await OUTBOX.make(stores[0])
    first, other = WalReader(stores[0]), WalReader(stores[1])
    await stage(stores[2], "1", "2", "3")
    staged, _ = await first.next(OUTBOX.buckets, 100)
    async with stores[0].transaction() as tx:
        await first.forget(tx, [staged[0].number, staged[2].number])
    assert await publish(stores[1], other, 2) == ["1", "2"]
    assert not await other.is_empty()  # which gives up what it has published
    assert await publish(stores[0], first, 3) == []


async def test_first_starts_at_the_same_moment_make_one_slot(stores: list[PostgresDatabase]) -> None:
    await asyncio.gather(*(OUTBOX.make(store) for store in stores))
    await stage(stores[0], "a")
    assert await publish(stores[1], WalReader(stores[1]), 1) == ["a"]


async def test_whoever_comes_second_waits_until_the_slot_is_made(stores: list[PostgresDatabase]) -> None:
    running = await stores[0].begin()
    await running.fetch("select pg_current_xact_id()")
    first = asyncio.create_task(OUTBOX.make(stores[1]))
    await until(lambda: has_slot(stores[0]))
    second = asyncio.create_task(OUTBOX.make(stores[2]))
    await asyncio.sleep(0.3)
    assert not first.done()
    assert not second.done()
    await running.rollback()
    await asyncio.gather(first, second)
    await stage(stores[0], "a")
    assert await publish(stores[2], WalReader(stores[2]), 1) == ["a"]


async def test_what_a_slot_would_lose_since_it_is_not_made_yet_is_refused(stores: list[PostgresDatabase]) -> None:
    running = await stores[0].begin()
    await running.fetch("select pg_current_xact_id()")
    making = asyncio.create_task(OUTBOX.make(stores[1]))
    await until(lambda: has_slot(stores[0]))
    with pytest.raises(UnsupportedCapabilityError, match="would be lost"):
        async with stores[2].transaction() as tx:
            await OUTBOX.require(tx)
    await running.rollback()
    await making
    async with stores[2].transaction() as tx:
        await OUTBOX.require(tx)


async def test_a_publication_that_another_one_makes_at_the_same_moment_will_do(postgres_server: str) -> None:
    """One serves a whole database, so that this has to be one where there is none."""
    name = f"test_{new_id().replace('-', '')}"
    await by_hand(postgres_server, f"create database {name}")
    base, _, _ = postgres_server.rpartition("/")
    store, other = PostgresDatabase(f"{base}/{name}"), PostgresDatabase(f"{base}/{name}")
    await store.open()
    await other.open()
    tx = await other.begin()
    await tx.fetch("create publication antiphon_outbox")
    making = asyncio.create_task(OUTBOX.make(store))
    await until(lambda: waits_for_lock(other))
    await tx.commit()
    await making
    await store.fetch("select pg_drop_replication_slot(?)", await slot_of(store))
    await store.close()
    await other.close()
    await by_hand(postgres_server, f"drop database {name} with (force)")


async def has_slot(store: PostgresDatabase) -> bool:
    return bool(await store.fetch("select 1 from pg_replication_slots where slot_name = ?", await slot_of(store)))


async def waits_for_lock(store: PostgresDatabase) -> bool:
    """Whether anybody in its database does."""
    return bool(
        await store.fetch(
            "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
    )


async def by_hand(server: str, sql: str) -> None:
    """Run what no transaction can."""
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
        await connection.execute(sql.encode())
