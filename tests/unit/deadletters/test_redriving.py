"""Running services go on with a redrive by themselves, and cost next to nothing while there is none."""

from datetime import timedelta

from antiphon.deadletters.redrive import Pace, found_redrive, start_redrive, stop_redrive
from antiphon.deadletters.redriving import IDLE, WAITING, Redriving
from antiphon.errors import StoreUnavailableError
from antiphon.storage.redrives import RedriveStatus
from tests.unit.deadletters.letters import Hands, many_parked

SECOND = timedelta(seconds=1)


async def test_runners_release_what_is_due_as_time_passes_however_many_there_are(store, clock):
    runners = [Redriving(store, clock) for _ in range(3)]
    for runner in runners:
        await runner.start()
    started = await start_redrive(store, clock, await many_parked(store, 9), Pace(spacing=SECOND), "ada")
    hands, handled = Hands(store, clock), list[str]()
    for _ in range(12):
        await clock.advance(SECOND)
        handled += await hands.handle_all()
    assert handled == [f"m-{number}" for number in range(1, 10)]
    standing = await found_redrive(store, started.redrive.id)
    assert (standing.redrive.status, standing.redrive.released) == (RedriveStatus.DONE, 9)
    assert runners[0].status() == {"running": 0, "trouble": ""}
    for runner in runners:
        await runner.drain()


async def test_a_redrive_is_taken_up_by_who_starts_later(store, clock):
    await start_redrive(store, clock, await many_parked(store, 3), Pace(spacing=SECOND), "ada")
    hands = Hands(store, clock)
    await hands.handle_all()
    await clock.advance(timedelta(hours=1))
    assert await hands.due() == ["m-2"]  # it was released ahead of its time, and nobody released the third
    runner = Redriving(store, clock)
    await runner.start()
    await clock.advance(SECOND)
    assert await hands.due() == ["m-3"]
    await runner.drain()


async def test_an_idle_runner_reads_once_a_second_and_writes_nothing(store, clock):
    runner = Redriving(store, clock)
    await runner.start()
    await clock.rest()
    before, commits = store.counters.statements, store.counters.commits
    await clock.advance(10 * IDLE)
    assert (store.counters.statements - before, store.counters.commits - commits) == (10, 0)
    await runner.drain()


async def test_one_that_waits_for_its_letters_is_looked_at_ever_more_seldom(store, clock):
    await start_redrive(store, clock, await many_parked(store, 3), Pace(spacing=SECOND), "ada")
    runner = Redriving(store, clock)
    await runner.start()
    await clock.advance(10 * SECOND)
    before = store.counters.statements
    await clock.advance(2 * SECOND)
    assert store.counters.statements - before <= 4 * (2 * SECOND / WAITING)
    await runner.drain()


async def test_a_stopped_redrive_is_left_alone(store, clock):
    started = await start_redrive(store, clock, await many_parked(store, 3), Pace(spacing=SECOND), "ada")
    await stop_redrive(store, clock, started.redrive.id, "ada")
    runner = Redriving(store, clock)
    await runner.start()
    await clock.advance(timedelta(minutes=1))
    assert await Hands(store, clock).due() == []
    await runner.drain()


class Troubled:
    """A store that cannot be read for a while."""

    def __init__(self, store):
        self.store, self.is_broken = store, True

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def fetch(self, sql, *args, row=None):
        if self.is_broken:
            raise StoreUnavailableError("it is locked")
        return await self.store.fetch(sql, *args, row=row)


async def test_trouble_is_told_once_and_waited_out(store, clock, caplog):
    await start_redrive(store, clock, await many_parked(store, 3), Pace(spacing=SECOND), "ada")
    troubled = Troubled(store)
    runner = Redriving(troubled, clock)
    await runner.start()
    await clock.advance(5 * SECOND)
    assert [record.getMessage() for record in caplog.records] == ["redrives wait for now: it is locked"]
    assert "it is locked" in runner.status()["trouble"]
    troubled.is_broken = False
    await clock.advance(5 * SECOND)
    assert len(await Hands(store, clock).due()) == 3
    assert runner.status() == {"running": 1, "trouble": ""}
    await runner.drain()
    await runner.drain()
