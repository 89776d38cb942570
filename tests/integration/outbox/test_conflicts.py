"""A relay that others are in the way of does not publish again what it could not forget at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.errors import CommitUnknownError, StoreError, TransactionConflictError
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.outbox.leases import TTL
from antiphon.storage.database import SqlValue
from antiphon.storage.outbox import is_outbox_empty, stage
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.store_sabotage import SabotagedTransaction, StoreSaboteur
from tests.integration.outbox.relaying import Desk, until

KINDS = [TransactionConflictError, CommitUnknownError]


class _Crowded(SabotagedTransaction):
    """Of statements that have some part in them, each fails as often as that is named."""

    failures: list[tuple[str, StoreError]]

    async def execute(self, sql: str, *args: SqlValue) -> None:
        for each in self.failures:
            part, error = each
            if part in sql:
                self.failures.remove(each)
                raise error
        await super().execute(sql, *args)


class Crowded(StoreSaboteur):
    """A store in which others are in the way at first."""

    def __init__(self, store: SqliteDatabase) -> None:
        super().__init__(store)
        self.failures: list[tuple[str, StoreError]] = []

    async def begin(self) -> SabotagedTransaction:
        tx = _Crowded(await self.store.begin())
        tx.failures = self.failures
        return tx


@pytest.fixture
async def store() -> AsyncIterator[Crowded]:
    store = SqliteDatabase(":memory:")
    await store.open()
    yield Crowded(store)
    await store.close()


@pytest.fixture
async def desk(store: Crowded) -> Desk:
    desk = Desk(store, None)
    await desk.broker.open()
    return desk


async def stage_one(store: Crowded) -> None:
    clock = SystemClock()
    message = Message(new_id(), "Said", clock.now(), b"{}", "one", "shop")
    async with store.transaction() as tx:
        await stage(tx, [Outgoing("orders", message)], clock.now())


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_published_is_forgotten_at_the_next_try(
    store: Crowded, desk: Desk, kind: type[StoreError]
) -> None:
    async with desk.relaying() as relay:
        store.failures = [("delete from antiphon_outbox where", kind("others are in the way")) for _ in range(3)]
        await stage_one(store)
        relay.ring()
        await until(lambda: is_outbox_empty(store))
        await asyncio.sleep(0.3)
        assert not store.failures
        assert len(desk.published) == 1
        assert relay.status()["is_waiting"] is False


@pytest.mark.parametrize("kind", KINDS)
async def test_it_starts_keeps_up_and_ends_nevertheless(store: Crowded, desk: Desk, kind: type[StoreError]) -> None:
    failures = [("antiphon_outbox_relays", kind("others are in the way")) for _ in range(3)]
    store.failures = [*failures]
    async with desk.relaying() as relay:
        assert not store.failures
        store.failures = [*failures]
        await until(lambda: not store.failures)
        assert relay.status()["is_waiting"] is False
        await asyncio.sleep((TTL / 3 + timedelta(seconds=0.2)).total_seconds())
        assert relay.status()["buckets"] == 64
        store.failures = [*failures]
    assert not store.failures
    assert await store.fetch("select count(*) from antiphon_outbox_relays", row=int) == [0]
