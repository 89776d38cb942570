"""Whoever changes several rows takes them in one order, so that nobody waits in a circle; and reads ask for no more."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from antiphon.errors import TransactionConflictError
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.outbox.leases import TTL, BucketLeases
from antiphon.storage.clocks import store_time
from antiphon.storage.moments import moment
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.relays import RelayTable
from antiphon.storage.schedule import cancel, schedule
from antiphon.testing.store_sabotage import SabotagedTransaction, StoreSaboteur

CLOCK = SystemClock()


@pytest.fixture
async def other(postgres_url, database):
    """The same store, as another process has it."""
    other = PostgresDatabase(postgres_url)
    await other.open()
    yield other
    await other.close()


class _Meeting(SabotagedTransaction):
    async def execute(self, sql, *args):
        await super().execute(sql, *args)
        if sql.startswith(self.after):
            await self.fetch("select 1")
            with contextlib.suppress(TimeoutError, asyncio.BrokenBarrierError):
                async with asyncio.timeout(0.5):  # the other one may wait for this one, as it should
                    await self.barrier.wait()


class Meeting(StoreSaboteur):
    """A store on which two meet, if they can, after a statement that begins like this."""

    def __init__(self, store, after, barrier):
        super().__init__(store)
        self._after, self._barrier = after, barrier

    async def begin(self):
        tx = _Meeting(await self.store.begin())
        tx.after, tx.barrier = self._after, self._barrier
        return tx


async def test_two_relays_that_take_over_from_each_other_at_once_have_no_deadlock(database, other):
    """Both were asleep for longer than their leases, and each takes the other one for dead."""
    barrier = asyncio.Barrier(2)
    stores = [Meeting(each, "update antiphon_outbox_leases set expires_at", barrier) for each in (database, other)]
    relays = [BucketLeases(each, CLOCK, TTL, name) for each, name in zip(stores, ("ours", "theirs"), strict=True)]
    long_ago = moment(await store_time(database, CLOCK.now()) - 5 * TTL)
    async with database.transaction() as tx:
        for number, relay in enumerate(relays):
            await relay._table.enter(tx, datetime.fromtimestamp(0, UTC))
            await tx.execute(
                "update antiphon_outbox_leases set token = ?, expires_at = 0 where bucket % 2 = ?",
                relay._table.token,
                1 - number,
            )
        await tx.execute("update antiphon_outbox_relays set heard_at = ?", long_ago)
    await asyncio.gather(*(relay.keep_up() for relay in relays))
    await asyncio.gather(*(relay.keep_up() for relay in relays))
    owners = await database.fetch("select token from antiphon_outbox_leases where token is not null", row=str)
    assert set(owners) <= {relay._table.token for relay in relays}


async def test_a_relay_that_leaves_while_another_one_forgets_it_has_no_deadlock(database, other):
    ours, theirs = RelayTable("ours"), RelayTable("theirs")
    now = await store_time(database, CLOCK.now())
    async with database.transaction() as tx:
        await ours.enter(tx, now - timedelta(hours=1))
        await tx.execute("update antiphon_outbox_leases set token = ?, expires_at = 0", ours.token)
    forgetting = await other.begin()
    await theirs.enter(forgetting, now)
    await theirs.forget_silent(forgetting, now - timedelta(minutes=1))
    await forgetting.fetch("select 1")

    async def leave():
        async with database.transaction() as tx:
            await ours.leave(tx)

    leaving = asyncio.create_task(leave())
    async with asyncio.timeout(10):
        while not await other.fetch("select 1 from pg_locks where not granted"):
            await asyncio.sleep(0.01)
    await theirs.reserve(forgetting, range(64))
    await forgetting.commit()
    await leaving


async def test_two_who_cancel_the_same_messages_in_opposite_orders_have_no_deadlock(database, other):
    messages = [Message(new_id(), "Said", CLOCK.now(), b"{}", "one", "shop") for _ in range(2)]
    async with database.transaction() as tx:
        await schedule(tx, [Outgoing("orders", each) for each in messages], CLOCK.now() + timedelta(days=1))
    ids = [each.id for each in messages]
    barrier = asyncio.Barrier(2)

    async def take_back(store, wanted):
        tx = _Cautious(await store.begin())
        tx.barrier = barrier
        try:
            found = await cancel(tx, wanted)
        except TransactionConflictError:
            await tx.rollback()
            raise
        await tx.commit()
        return found

    found = await asyncio.gather(take_back(database, ids), take_back(other, ids[::-1]))
    assert sorted(found) == [[], sorted(ids)]


class _Cautious(SabotagedTransaction):
    """Lets the other one begin before it goes on."""

    async def fetch(self, sql, *args, row=None):
        found = await super().fetch(sql, *args, row=row)
        with contextlib.suppress(TimeoutError, asyncio.BrokenBarrierError):
            async with asyncio.timeout(0.5):
                await self.barrier.wait()
        return found


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_reads_say_how_isolated_they_are_whatever_the_server_does_by_default(postgres_url, level):
    options = quote("-cdefault_transaction_isolation=" + level.replace(" ", "\\ "), safe="")
    store = PostgresDatabase(f"{postgres_url}&options={options}")
    await store.open()
    try:
        (default, found), *_ = await store.fetch(
            "select current_setting('default_transaction_isolation'), current_setting('transaction_isolation')"
        )
    finally:
        await store.close()
    assert (default, found) == (level, "read committed")
