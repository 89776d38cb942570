"""Whether somebody handles what a redrive sends is known by the services that run, and by no dead one."""

from datetime import timedelta

import pytest

from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.deadletters.serving import serving_of
from antiphon.storage import relays
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.relays import RelayTable
from antiphon.storage.runs import SILENCE, Process, Run, begin_run, end_run
from tests.unit.deadletters.letters import Hands, letter, parked

HERE, ELSEWHERE = Process.own(), Process("elsewhere/boot", 7, "1")
GONE = Process(HERE.host, HERE.pid, "another beginning")


@pytest.fixture
async def redrive(store, clock):
    """Of two letters of two groups, of which the first is on its way and the second waits."""
    numbers = await parked(store, letter(1, group="mail"), letter(2, group="payments"))
    standing = await start_redrive(store, clock, numbers, Pace(canaries=1), "ada")
    assert (standing.under_way, standing.waiting) == (1, 1)
    return standing.redrive.id


async def begin(store, clock, group, process):
    run = Run(
        id=f"{group}-{process.host}-{process.began}",
        group=group,
        service=group,
        process=process,
        started_at=clock.now(),
        heard_of=clock.now(),
        status={},
    )
    async with store.transaction() as tx:
        await begin_run(tx, run)
    return run.id


async def test_a_group_is_served_while_a_service_of_it_runs(store, clock, redrive):
    assert await serving_of(store, clock, redrive) == ([], ["mail", "payments"])
    run = await begin(store, clock, "payments", HERE)
    await begin(store, clock, "unconcerned", HERE)
    assert await serving_of(store, clock, redrive) == (["payments"], ["mail"])
    async with store.transaction() as tx:
        await end_run(tx, run)
    assert await serving_of(store, clock, redrive) == ([], ["mail", "payments"])


async def test_a_process_that_died_serves_nobody(store, clock, redrive):
    await begin(store, clock, "payments", GONE)
    await begin(store, clock, "mail", ELSEWHERE)
    assert await serving_of(store, clock, redrive) == (["mail"], ["payments"])
    await clock.advance(SILENCE + timedelta(seconds=1))
    assert await serving_of(store, clock, redrive) == ([], ["mail", "payments"])


async def test_what_a_broker_refused_is_served_while_a_relay_runs(store, clock):
    numbers = await parked(store, letter(1, group=OUTBOX_GROUP))
    redrive = (await start_redrive(store, clock, numbers, Pace(), "ada")).redrive.id
    await begin(store, clock, "payments", HERE)
    assert await serving_of(store, clock, redrive) == ([], [OUTBOX_GROUP])
    relay = RelayTable("r1")
    async with store.transaction() as tx:
        await relay.enter(tx, clock.now())
    assert await serving_of(store, clock, redrive) == ([OUTBOX_GROUP], [])
    await clock.advance(relays.SILENCE)
    assert await serving_of(store, clock, redrive) == ([], [OUTBOX_GROUP])


async def test_what_is_handled_needs_no_service_any_more(store, clock, redrive):
    assert await Hands(store, clock, "mail").handle_all() == ["m-1"]
    assert await serving_of(store, clock, redrive) == ([], ["payments"])
