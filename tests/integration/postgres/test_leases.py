"""No bucket of the outbox is held by two, whatever one of them does while the other one decides."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from antiphon.events.clock import SystemClock
from antiphon.outbox.leases import BucketLeases
from antiphon.storage.postgres import PostgresDatabase

TTL = timedelta(seconds=1)


class Thinking:
    """A transaction that goes on after it has read who holds what, only when it is let."""

    def __init__(self, tx, has_read, may_go_on):
        self._tx, self._has_read, self._may_go_on = tx, has_read, may_go_on

    def __getattr__(self, name):
        return getattr(self._tx, name)

    async def fetch(self, sql, *args, row=None):
        found = await self._tx.fetch(sql, *args, row=row)
        if "expires_at" in sql:
            self._has_read.set()
            await self._may_go_on.wait()
        return found


class Slow:
    """A store in whose transactions there is time to think."""

    def __init__(self, store):
        self._store = store
        self.has_read, self.may_go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self):
        async with self._store.transaction() as tx:
            yield Thinking(tx, self.has_read, self.may_go_on)


@pytest.fixture
async def other(postgres_url):
    """The store as another process has it."""
    other = PostgresDatabase(postgres_url)
    await other.open()
    yield Slow(other)
    await other.close()


async def test_what_its_owner_renews_while_another_one_decides_stays_with_it(database, other):
    owner, heir = BucketLeases(database, SystemClock(), TTL, "owner"), BucketLeases(other, SystemClock(), TTL, "heir")
    await owner.keep_up()
    await asyncio.sleep(1.1 * TTL.total_seconds())  # as after a stall of the server: the leases are over
    deciding = asyncio.create_task(heir.keep_up())
    await other.has_read.wait()
    await owner.keep_up()
    other.may_go_on.set()
    await deciding
    assert owner.owned
    assert owner.is_sure
    assert not set(owner.owned) & set(heir.owned)


async def test_what_was_lost_and_won_back_between_two_looks_counts_as_gained(database, other):
    other.may_go_on.set()
    owner, heir = BucketLeases(database, SystemClock(), TTL, "owner"), BucketLeases(other, SystemClock(), TTL, "heir")
    assert await owner.keep_up()
    assert not await owner.keep_up()
    await asyncio.sleep(1.1 * TTL.total_seconds())
    assert await heir.keep_up()
    await heir.leave()
    assert await owner.keep_up()
