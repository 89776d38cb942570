"""Which processes run is known to all, and what one that died was at is suspected and free for others."""

from datetime import UTC, datetime, timedelta

import pytest

from antiphon.storage.runs import (
    SILENCE,
    Process,
    Run,
    beat,
    begin_run,
    bury,
    clear,
    end_run,
    forget_suspects,
    list_runs,
    note_working,
    suspects_of,
)
from antiphon.storage.set_aside import RetryStore, set_aside
from tests.unit.storage.test_set_aside import an_item

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
HOLD = timedelta(seconds=60)


def a_run(id: str = "run-1", group: str = "payments", process: Process | None = None) -> Run:
    return Run(
        id=id,
        group=group,
        service=group,
        process=process or Process.own(),
        started_at=NOW,
        heard_of=NOW,
        status={},
    )


async def test_a_run_is_listed_with_what_it_said_last_until_it_ends(tx):
    await begin_run(tx, a_run())
    await begin_run(tx, a_run("run-2", "mailing"))
    await beat(tx, "run-1", NOW + HOLD, {"state": "running"})
    (found,) = await list_runs(tx, "payments")
    assert (found.id, found.heard_of, found.status) == ("run-1", NOW + HOLD, {"state": "running"})
    assert [each.id for each in await list_runs(tx)] == ["run-1", "run-2"]
    await end_run(tx, "run-1")
    await end_run(tx, "run-1")
    assert await list_runs(tx, "payments") == []


async def test_what_a_dead_one_attempted_among_others_is_suspected_without_a_crash(tx):
    await begin_run(tx, a_run())
    await note_working(tx, "run-1", ["m-1", "m-2"], alone=False)
    assert await bury(tx, a_run(), NOW) == 2
    found = await suspects_of(tx, "payments")
    assert (found.crashes, found.found_at) == ({"m-1": 0, "m-2": 0}, NOW)


async def test_each_death_of_a_lone_attempt_counts(tx):
    for number in range(3):
        run = a_run(f"run-{number}")
        await begin_run(tx, run)
        await note_working(tx, run.id, ["m-1"], alone=True)
        assert await bury(tx, run, NOW) == 1
    assert (await suspects_of(tx, "payments")).crashes == {"m-1": 3}


async def test_the_same_death_counts_once(tx):
    await begin_run(tx, a_run())
    await note_working(tx, "run-1", ["m-1"], alone=True)
    assert [await bury(tx, a_run(), NOW), await bury(tx, a_run(), NOW)] == [1, 0]
    assert (await suspects_of(tx, "payments")).crashes == {"m-1": 1}


async def test_what_a_dead_one_had_claimed_is_free_at_once(tx):
    await begin_run(tx, a_run())
    await set_aside(tx, [an_item("m-1", due_at=NOW)])
    dead, other = (RetryStore("payments", token, HOLD) for token in ("run-1", "run-2"))
    later = NOW + timedelta(seconds=2)
    assert len(await dead.claim(tx, later, 10)) == 1
    assert await other.claim(tx, later, 10) == []
    await bury(tx, a_run(), later)
    assert len(await other.claim(tx, later, 10)) == 1


async def test_a_suspect_that_was_innocent_is_cleared_and_old_suspicion_rests(tx):
    await begin_run(tx, a_run())
    await note_working(tx, "run-1", ["m-1", "m-2"], alone=False)
    await bury(tx, a_run(), NOW)
    await clear(tx, "payments", "m-1")
    assert (await suspects_of(tx, "payments")).crashes == {"m-2": 0}
    await forget_suspects(tx, "payments", NOW)
    assert (await suspects_of(tx, "payments")).found_at == NOW
    await forget_suspects(tx, "payments", NOW + HOLD)
    assert (await suspects_of(tx, "payments")) == ({}, None)


def test_a_process_of_this_machine_is_dead_when_its_number_is_free_or_anothers():
    own = Process.own()
    assert not own.is_dead(NOW, NOW + 2 * SILENCE)
    assert Process(own.host, own.pid, "another beginning").is_dead(NOW, NOW)
    assert Process(own.host, 2**22 + 1, own.began).is_dead(NOW, NOW)


@pytest.mark.parametrize(("silence", "dead"), [(SILENCE, False), (SILENCE + timedelta(seconds=1), True)])
def test_a_process_of_another_machine_is_dead_after_its_silence(silence, dead):
    assert Process("elsewhere/boot", 1, "1").is_dead(NOW, NOW + silence) is dead
