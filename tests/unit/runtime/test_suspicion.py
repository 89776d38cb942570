"""Whoever lives is known to the others, also after times in which nobody could say so."""

from datetime import timedelta

import pytest

from antiphon.runtime.suspicion import EVERY, Suspicion
from antiphon.storage import runs
from antiphon.storage.runs import SILENCE, list_runs
from antiphon.storage.set_aside import RetryStore
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock

MOMENT = timedelta(seconds=1)


@pytest.fixture
async def store():
    store = SqliteDatabase(":memory:")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def on_machine(store, clock, monkeypatch):
    """A run on a machine of this name; what is called next happens there."""

    def on(machine: str) -> Suspicion:
        monkeypatch.setattr(runs, "_host", lambda: machine)
        return Suspicion("payments", RetryStore("payments", machine, timedelta(minutes=1)), store, clock, dict)

    return on


async def living(store):
    return {run.id for run in await list_runs(store)}


async def test_a_machine_that_says_nothing_for_long_is_taken_for_dead(store, clock, on_machine):
    silent = on_machine("silent")
    await silent.start()
    silent._task.cancel()
    watchful = on_machine("watchful")
    await watchful.start()
    await clock.advance(SILENCE + 2 * EVERY)
    assert await living(store) == {"watchful"}
    assert watchful.careful


async def test_one_that_was_taken_for_dead_is_back_with_its_next_sign(store, clock, on_machine):
    quiet = on_machine("quiet")
    await quiet.start()
    (run,) = await list_runs(store)
    async with store.transaction() as tx:
        await runs.bury(tx, run, clock.now())
    assert await living(store) == set()
    await quiet.say()
    assert await living(store) == {"quiet"}


async def test_one_that_was_heard_of_since_it_was_listed_is_not_buried(store, clock, on_machine):
    quiet = on_machine("quiet")
    await quiet.start()
    (run,) = await list_runs(store)
    await clock.advance(MOMENT)
    await quiet.say()
    async with store.transaction() as tx:
        assert await runs.bury(tx, run, clock.now()) == 0
    assert await living(store) == {"quiet"}


async def test_after_the_store_was_away_everybody_has_time_to_be_heard_of(store, clock, on_machine):
    """Nobody could say anything; whoever is back first would find all others silent."""
    other = on_machine("other")
    await other.start()
    other._task.cancel()
    first = on_machine("first")
    await first.start()
    first._task.cancel()
    await clock.advance(2 * SILENCE)
    await first.look()
    assert await living(store) == {"other", "first"}
    await other.say()
    await clock.advance(EVERY)
    await first.look()
    assert await living(store) == {"other", "first"}
    for _ in range(2 * SILENCE // EVERY):
        await clock.advance(EVERY)
        await first.say()
        await first.look()
    assert await living(store) == {"first"}


async def test_who_was_stopped_says_nothing_any_more(store, on_machine):
    quiet = on_machine("quiet")
    await quiet.start()
    await quiet.stop(MOMENT)
    await quiet.say()
    assert await living(store) == set()
