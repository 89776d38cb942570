"""Whoever stages rouses the relays of other processes, never within the transaction, and nothing depends on it."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

from antiphon import Outbox, Struct, event
from antiphon.brokers.memory import MemoryBroker
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import LONGEST_REST, Relay
from antiphon.runtime.sending import Sending
from antiphon.storage.hinting import OUTBOX_HINTS, HintingDatabase
from antiphon.storage.outbox import outbox_backlog, stage
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.postgres.hints import EVERY

UNTIL_AT_REST = 0.5
"""Seconds, after which a relay that found nothing takes its longest rests."""
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen %' and application_name = ?"


@event(topic="words")
class Said(Struct, frozen=True):
    text: str


class NeverLooking(SystemClock):
    """The clock of a relay that looks only when roused, once it has rested for a while."""

    async def sleep(self, duration: timedelta) -> None:
        await super().sleep(timedelta(hours=1) if duration == LONGEST_REST else duration)


@asynccontextmanager
async def opened(url, name="antiphon"):
    database = PostgresDatabase(f"{url}&application_name={name}")
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def relaying(store, clock):
    broker, metrics = MemoryBroker(), Metrics(service="words")
    await broker.open()
    relay = Relay(broker.publish, store, clock, metrics, Sending("words", broker, metrics, Hooks(metrics)))
    await relay.start()
    try:
        yield relay
    finally:
        await relay.drain()
        await broker.close()


async def staged(store, count=1):
    now = SystemClock().now()
    async with store.transaction() as tx:
        made = [Message(new_id(), "Said", now, b"{}", None, "words") for _ in range(count)]
        await stage(tx, [Outgoing("words", each) for each in made], now)


async def until_empty(store):
    async with asyncio.timeout(20):
        while (await outbox_backlog(store, SystemClock().now())).messages:
            await asyncio.sleep(0.01)


async def until_listening(store, name):
    async with asyncio.timeout(20):
        while not await store.fetch(CUT.replace("pg_terminate_backend(pid)", "1"), name):
            await asyncio.sleep(0.01)


async def until(done):
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


async def test_what_another_process_staged_is_published_at_its_hint_before_anybody_looks(postgres_url):
    async with opened(postgres_url, "hearing") as ours, opened(postgres_url) as theirs, relaying(ours, NeverLooking()):
        await until_listening(ours, "hearing")
        for _ in range(5):
            await asyncio.sleep(UNTIL_AT_REST)
            await staged(theirs)
            theirs.hint(OUTBOX_HINTS)
            await until_empty(theirs)


async def test_a_relay_with_no_share_of_the_buckets_rouses_the_one_that_has_them(postgres_url):
    async with (
        opened(postgres_url, "busy") as first,
        opened(postgres_url) as second,
        relaying(first, NeverLooking()) as busy,
        relaying(second, NeverLooking()) as idle,
    ):
        await until_listening(first, "busy")
        assert (busy.status()["buckets"], idle.status()["buckets"]) == (64, 0)
        await asyncio.sleep(UNTIL_AT_REST)
        await staged(second)
        idle.ring()
        await until_empty(second)


async def test_what_nobody_hints_at_is_published_all_the_same(postgres_url):
    async with opened(postgres_url) as ours, opened(postgres_url) as theirs, relaying(ours, SystemClock()):
        await staged(theirs, 3)
        await until_empty(theirs)


async def test_a_cut_connection_that_listened_is_replaced_and_what_was_missed_is_looked_for(postgres_url):
    async with opened(postgres_url, "cut_off") as ours, opened(postgres_url) as theirs, relaying(ours, NeverLooking()):
        await until_listening(theirs, "cut_off")
        await asyncio.sleep(UNTIL_AT_REST)
        await staged(theirs)
        assert await theirs.fetch(CUT, "cut_off") == [(True,)]
        await until_empty(theirs)
        await until_listening(theirs, "cut_off")
        await asyncio.sleep(UNTIL_AT_REST)
        await staged(theirs)
        theirs.hint(OUTBOX_HINTS)
        await until_empty(theirs)


async def test_a_transaction_that_stages_sends_no_hint_of_its_own(postgres_url):
    heard = []
    async with opened(postgres_url, "watching") as ours, opened(postgres_url) as theirs:
        listening = asyncio.create_task(ours.listen(OUTBOX_HINTS, lambda: heard.append(None)))
        await until(lambda: len(heard) == 1)
        before = theirs.counters.statements
        await staged(theirs, 2)
        usual = theirs.counters.statements - before
        tx = await theirs.begin()
        await Outbox("words").stage_async(tx, Said("a"), Said("b"))
        await tx.rollback()
        assert theirs.counters.statements == before + 2 * usual
        async with theirs.transaction() as tx:
            await Outbox("words").stage_async(tx, Said("a"), Said("b"))
            assert len(heard) == 1
        await until(lambda: len(heard) == 2)
        assert theirs.counters.statements == before + 3 * usual + 1
        listening.cancel()
        await asyncio.wait({listening})


async def test_a_storm_of_hints_is_a_few_statements(postgres_url):
    async with opened(postgres_url) as store:
        before, loop = store.counters.statements, asyncio.get_running_loop()
        began = loop.time()
        for _ in range(2000):
            store.hint(OUTBOX_HINTS)
            await asyncio.sleep(0)
        rounds = (loop.time() - began) / EVERY.total_seconds()
        await asyncio.sleep(2 * EVERY.total_seconds())
        assert 1 <= store.counters.statements - before <= rounds + 3


async def test_schemas_do_not_rouse_each_other(postgres_server, postgres_url):
    heard = []
    async with opened(postgres_url) as ours, opened(f"{postgres_server}?schema=other") as others:
        listening = asyncio.create_task(ours.listen(OUTBOX_HINTS, lambda: heard.append(None)))
        await until(lambda: len(heard) == 1)
        others.hint(OUTBOX_HINTS)
        ours.hint("something else")
        await asyncio.sleep(0.1)
        assert len(heard) == 1
        ours.hint(OUTBOX_HINTS)
        await until(lambda: len(heard) == 2)
        listening.cancel()
        await asyncio.wait({listening})


async def test_hints_of_a_store_that_is_closed_or_gone_are_dropped_in_silence(postgres_url, caplog):
    caplog.set_level("INFO")
    store = PostgresDatabase(postgres_url)
    store.hint(OUTBOX_HINTS)
    await asyncio.sleep(0.01)
    await store.close()
    assert isinstance(store, HintingDatabase)
    assert caplog.records == []
