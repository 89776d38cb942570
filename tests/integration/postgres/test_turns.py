"""Whoever changes what is set aside has his turn: nobody acts on what he saw before it, or waits in a circle."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from antiphon.deadletters.dropping import drop
from antiphon.deadletters.editing import edit, edited_message
from antiphon.deadletters.redrive import Pace, found_redrive, resume_redrive, start_redrive, stop_redrive
from antiphon.errors import TransactionConflictError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.claims import Claims
from antiphon.storage import redrives
from antiphon.storage.dead_letters import find
from antiphon.storage.letter_changes import Author, list_dropped
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.redrives import Redrive, RedriveStatus, begin_redrive, change_redrive
from antiphon.storage.relays import RelayTable
from antiphon.storage.runs import Process, Run, begin_run, bury
from antiphon.storage.schedule import claim_due, done, put_off, schedule
from antiphon.storage.set_aside import AsideState, RetryStore, set_aside, take_turn, turn_first
from antiphon.testing.conformance.store_tables import a_message
from tests.unit.storage.test_set_aside import an_item

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOLD = timedelta(minutes=1)
CLOCK = SystemClock()
ADA = Author("ada", NOW)
STRICTER = ("repeatable-read", "serializable")
HELD = "select number, token from antiphon_set_aside order by number"


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """Nobody tries again, who may have been in a circle."""
    monkeypatch.setattr("antiphon.deadletters.turns.TRIES", 1)


@pytest.fixture
async def other(postgres_url, database):
    """The same store, as another process has it."""
    async with opened(postgres_url) as other:
        yield other


@asynccontextmanager
async def opened(url):
    database = PostgresDatabase(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def begun(store):
    """A transaction that a test commits, whatever else runs; ended when the test fails."""
    tx = await store.begin()
    try:
        yield tx
    finally:
        await tx.rollback()


async def sent(tx):
    """Return when the server has done everything that was sent before."""
    await tx.fetch("select 1")


async def blocked(store, count=1):
    """Return when so many wait for a lock in this database."""
    sql = "select count(*) from pg_locks where not granted and pid <> pg_backend_pid()"
    async with asyncio.timeout(10):
        while (await store.fetch(sql, row=int))[0] < count:
            await asyncio.sleep(0.01)


async def kept(store, *items):
    """Keep these; returns their numbers."""
    async with store.transaction() as tx:
        await set_aside(tx, items)
    return await store.fetch("select number from antiphon_set_aside order by number", row=int)


async def parked(store, *ids):
    return await kept(store, *(an_item(id, AsideState.PARKED) for id in ids))


async def claimed(store, retries, now=NOW):
    async with store.transaction() as tx:
        return [each.number for each in await retries.claim(tx, now, 10)]


def hands(token="ours"):
    return RetryStore("payments", token, HOLD)


async def test_what_is_taken_by_a_redrive_at_the_same_moment_is_not_dropped(database, other):
    numbers = await parked(database, "m1")
    redrive = Redrive(id="r1", started_at=NOW, started_by="bob", total=1, spacing=HOLD, next_at=NOW, stop_after=3)
    async with begun(other) as tx:
        await take_turn(tx)
        await begin_redrive(tx, redrive, numbers)
        await sent(tx)
        dropping = asyncio.create_task(drop(database, numbers, ADA))
        await blocked(other)
        await tx.commit()
        assert await dropping == 0
    standing = await found_redrive(database, "r1")
    assert (standing.waiting, standing.handled, standing.redrive.gone) == (1, 0, 0)
    assert await list_dropped(database) == []


async def test_what_is_dropped_at_the_same_moment_is_not_redriven(database, other, monkeypatch):
    numbers = await parked(database, "m1")
    asked = asyncio.Event()

    async def slowly(store, numbers):
        found = await redrives.taken_already(store, numbers)
        if store is not database:
            asked.set()
            await blocked(database)
        return found

    monkeypatch.setattr("antiphon.deadletters.dropping.taken_already", slowly)
    dropping = asyncio.create_task(drop(database, numbers, ADA))
    await asked.wait()
    with pytest.raises(Exception, match="no dead letters any more"):
        await start_redrive(other, CLOCK, numbers, Pace(), "bob")
    assert await dropping == 1
    assert await database.fetch("select letter from antiphon_redrive_letters") == []


async def test_a_redrive_can_be_resumed_while_its_letters_are_dropped(database, other):
    numbers = await parked(database, "m1", "m2")
    id = (await start_redrive(other, CLOCK, numbers, Pace(spacing=HOLD), "bob")).redrive.id
    await stop_redrive(other, CLOCK, id, "bob")
    async with begun(other) as tx:
        await take_turn(tx)
        standing = await found_redrive(tx, id)
        dropping = asyncio.create_task(drop(database, numbers, ADA))
        await blocked(database)
        assert await change_redrive(tx, replace(standing.redrive, status=RedriveStatus.RUNNING))
        await tx.commit()
        assert await dropping == 0


@pytest.mark.parametrize("what", ["extend", "release", "release_all"])
async def test_what_is_kept_or_let_go_while_some_of_it_is_settled_is_no_deadlock(database, other, what):
    numbers = await kept(database, *(an_item(f"m{number}", due_at=NOW) for number in range(3)))
    ours = hands()
    assert await claimed(database, ours) == numbers
    args = {"extend": (numbers, NOW), "release": (numbers,), "release_all": ()}[what]

    async def keep_or_let_go():
        async with other.transaction() as tx:
            await getattr(ours, what)(tx, *args)

    async with begun(database) as tx:
        assert await ours.finish(tx, numbers[1:2]) == numbers[1:2]
        going = asyncio.create_task(keep_or_let_go())
        await blocked(database)
        assert await ours.finish(tx, numbers[:1]) == numbers[:1]
        await tx.commit()
        await going
    assert [number for number, _ in await database.fetch(HELD)] == numbers[2:]


async def test_a_claim_that_is_still_being_committed_when_it_is_given_up_is_let_go_too(database, other):
    """The connection is gone, and the server does not know yet."""
    numbers = await kept(database, an_item("m1", due_at=NOW))
    claims = Claims(hands(), database, CLOCK)
    async with begun(other) as lost:
        assert len(await claims.store.claim(lost, NOW, 10)) == 1
        with pytest.raises(asyncio.CancelledError):
            await canceled(claims.claim(NOW, 10, ()), database)
        letting_go = asyncio.create_task(claims.let_go())
        await blocked(other)
        await lost.commit()
        await letting_go
    assert await database.fetch(HELD) == [(numbers[0], None)]


async def canceled(work, store):
    """Begin something, and cancel it once it waits for others."""
    task = asyncio.create_task(work)
    await blocked(store)
    task.cancel()
    await task


async def test_the_dead_are_buried_without_waiting_for_who_takes_over_what_they_had(database, other):
    numbers = await kept(database, *(an_item(f"m{number}", due_at=NOW) for number in range(2)))
    process = Process("there", 1, "then")
    run = Run(id="dead", group="payments", service="payments", process=process, started_at=NOW, heard_of=NOW, status={})
    async with database.transaction() as tx:
        await begin_run(tx, run)
    assert await claimed(database, hands("dead")) == numbers
    async with begun(other) as tx:
        await tx.execute("update antiphon_set_aside set token = 'quick' where number = ?", numbers[0])
        await sent(tx)
        async with asyncio.timeout(5), database.transaction() as burying:
            await bury(burying, run, NOW + HOLD)
        await tx.commit()
    assert await database.fetch(HELD) == [(numbers[0], "quick"), (numbers[1], None)]


@pytest.fixture(params=STRICTER)
async def strict(request, postgres_url, database):
    """The same store, whose transactions see only what there was when they began."""
    async with opened(f"{postgres_url}&isolation={request.param}") as strict:
        yield strict


@asynccontextmanager
async def turn_of(store):
    """Somebody else has his turn, and ends it as soon as anybody waits for one."""
    async with begun(store) as tx:
        await take_turn(tx)
        await tx.execute("insert into antiphon_topic_pauses values ('g', 't', 'why', 'who', 'since')")
        await sent(tx)

        async def end():
            await blocked(store)
            await tx.commit()

        ending = asyncio.create_task(end())
        yield
        await ending


async def test_an_operator_waits_for_his_turn_in_every_isolation(database, strict):
    numbers = await parked(database, "m1", "m2", "m3")
    async with turn_of(database):
        id = (await start_redrive(strict, CLOCK, numbers[:1], Pace(spacing=HOLD), "ada")).redrive.id
    for work in (
        lambda: stop_redrive(strict, CLOCK, id, "ada"),
        lambda: resume_redrive(strict, CLOCK, id),
        lambda: drop(strict, numbers[1:2], ADA),
        lambda: mend(strict),
    ):
        await database.fetch("select 1")
        async with database.transaction() as tx:
            await tx.execute("delete from antiphon_topic_pauses")
        async with turn_of(database):
            await work()


async def mend(store):
    *_, letter = await find(store, LetterQuery(), 10)
    await edit(store, letter, edited_message(letter, b"{}", None), ADA)


async def test_what_is_claimed_and_settled_waits_for_its_turn_in_every_isolation(database, strict):
    await kept(database, an_item("m1", due_at=NOW))
    claims = Claims(hands(), strict, CLOCK)
    async with turn_of(database):
        assert len(await claims.claim(NOW, 10, ())) == 1
    async with database.transaction() as tx:
        await tx.execute("delete from antiphon_topic_pauses")
    async with turn_of(database), turn_first(strict) as tx:
        await claims.store.release_all(tx)
    assert [token for _, token in await database.fetch(HELD)] == [None]


async def test_a_turn_that_is_taken_late_is_refused_where_it_would_be_taken_on_what_is_past(database, strict):
    async with begun(strict) as late:
        await sent(late)
        async with database.transaction() as tx:
            await take_turn(tx)
        await take_turn(late)
        with pytest.raises(TransactionConflictError):
            await late.commit()


async def test_what_is_scheduled_is_settled_and_claimed_again_at_once_without_a_deadlock(database, other):
    """Where the table is read in another order than that of the numbers."""
    outgoing = [Outgoing("orders", a_message(str(number))) for number in range(4)]
    async with database.transaction() as tx:
        await schedule(tx, outgoing, NOW)
    numbers = sorted(await database.fetch("select number from antiphon_scheduled", row=int))
    for number in reversed(numbers):
        async with database.transaction() as tx:
            await tx.execute("update antiphon_scheduled set tries = tries where number = ?", number)
    async with database.transaction() as tx:
        assert len(await claim_due(tx, NOW, 10, HOLD, "slow")) == 4

    async def settle():
        async with other.transaction() as tx:
            await put_off(tx, numbers, "slow", NOW)
            await done(tx, numbers, "slow")

    async def claim():
        async with database.transaction() as tx:
            return await claim_due(tx, NOW + 2 * HOLD, 10, HOLD, "quick")

    async with begun(database) as tx:
        await tx.execute("select number from antiphon_scheduled where number = ? for update", numbers[1])
        await sent(tx)
        both = asyncio.gather(settle(), claim())
        await blocked(database, 2)
        await tx.commit()
        await both


async def three_buckets(store, relay):
    """Three that a relay holds, the first last where the table is read from its beginning."""
    leases = "update antiphon_outbox_leases set "
    async with store.transaction() as tx:
        await tx.execute(leases + "token = ?", relay.token)
    for bucket in reversed(range(64)):
        async with store.transaction() as tx:
            await tx.execute(leases + "epoch = epoch + 1 where bucket = ?", bucket)
    places = await store.fetch("select bucket from antiphon_outbox_leases order by ctid", row=int)
    third, second, first = places[20:41:10]
    assert first < second < third
    async with store.transaction() as tx:
        await tx.execute(leases + "token = null where bucket not in (?, ?, ?)", first, second, third)
    return first, second, third


@pytest.mark.parametrize("what", ["renew", "give_up"])
async def test_a_relay_renews_or_gives_up_its_leases_while_it_makes_sure_of_them(database, other, what):
    relay = RelayTable("ours")
    buckets = await three_buckets(database, relay)

    async def change():
        async with other.transaction() as tx:
            await getattr(relay, what)(tx, NOW if what == "renew" else buckets)

    async def make_sure():
        async with database.transaction() as tx:
            return len(await relay.held(tx, buckets))

    async with begun(database) as tx:
        await tx.execute("select bucket from antiphon_outbox_leases where bucket = ? for update", buckets[1])
        await sent(tx)
        both = asyncio.gather(make_sure(), change())
        await blocked(database, 2)
        await tx.commit()
        await both


async def test_relays_that_were_all_silent_for_long_come_back_at_once_without_a_deadlock(database, other):
    ours, theirs = RelayTable("ours"), RelayTable("theirs")
    async with database.transaction() as tx:
        await ours.enter(tx, NOW)
        await theirs.enter(tx, NOW)
    later = NOW + timedelta(hours=1)
    async with begun(database) as one, begun(other) as two:
        await ours.enter(one, later)
        await sent(one)
        await theirs.enter(two, later)
        await two.fetch("select 1")

        async def forget(relay, tx):
            await relay.forget_silent(tx, later - HOLD)
            await tx.commit()

        await asyncio.gather(forget(ours, one), forget(theirs, two))
    assert sorted(await database.fetch("select token from antiphon_outbox_relays", row=str)) == ["ours", "theirs"]
