"""A redrive sends each of its letters once, in order, at its pace, and is stopped and resumed without losing one."""

import asyncio
from datetime import timedelta

import pytest

from antiphon.deadletters.dropping import drop
from antiphon.deadletters.pacing import AT_ONCE
from antiphon.deadletters.redrive import (
    Pace,
    advance,
    found_redrive,
    resume_redrive,
    start_redrive,
    stop_redrive,
)
from antiphon.errors import DeadLetterError
from antiphon.storage.dead_letters import RedriveState, find_any
from antiphon.storage.redrives import RedriveStatus
from tests.unit.deadletters.letters import ADA, Hands, letter, many_parked, parked, parked_ids, put_behind

AT_ALL_SPEED = Pace(spacing=timedelta())
SECOND = timedelta(seconds=1)


async def counts(store, id):
    standing = await found_redrive(store, id)
    return (standing.handled, standing.under_way, standing.waiting, standing.failed)


async def start(store, clock, numbers, pace=AT_ALL_SPEED):
    return (await start_redrive(store, clock, numbers, pace, "ada")).redrive.id


async def work(store, clock, id):
    while await advance(store, clock, id):
        pass


async def test_what_is_sent_again_is_handled_with_its_own_ids_and_the_redrive_is_done(store, clock):
    id = await start(store, clock, await many_parked(store, 3))
    assert await parked_ids(store) == []
    assert await Hands(store, clock).handle_all() == ["m-1", "m-2", "m-3"]
    await work(store, clock, id)
    standing = await found_redrive(store, id)
    assert (standing.redrive.status, standing.handled) == (RedriveStatus.DONE, 3)
    assert standing.redrive.ended_at == clock.now()


async def test_what_was_not_chosen_stays_parked(store, clock):
    numbers = await many_parked(store, 3)
    await start(store, clock, numbers[1:2])
    assert await parked_ids(store) == ["m-1", "m-3"]
    assert await Hands(store, clock).due() == ["m-2"]


async def test_letters_are_due_one_after_the_other_at_the_pace_that_was_asked(store, clock):
    id = await start(store, clock, await many_parked(store, 5), Pace(spacing=SECOND))
    hands, came = Hands(store, clock), list[list[str]]()
    for _ in range(5):
        came.append(await hands.due())
        await clock.advance(SECOND)
        await work(store, clock, id)
    assert came == [["m-1"], ["m-2"], ["m-3"], ["m-4"], ["m-5"]]


async def test_one_that_fails_again_is_parked_and_counted_and_the_others_go_on(store, clock):
    id = await start(store, clock, await many_parked(store, 3))
    hands = Hands(store, clock)
    first, *others = await hands.claim()
    await hands.give_up([first])
    await hands.finish(others)
    await work(store, clock, id)
    assert await counts(store, id) == (2, 0, 0, 1)
    assert (await found_redrive(store, id)).redrive.status is RedriveStatus.DONE
    assert await parked_ids(store) == ["m-1"]


async def test_the_rest_waits_until_every_canary_is_handled(store, clock):
    id = await start(store, clock, await many_parked(store, 5), Pace(spacing=timedelta(), canaries=2))
    hands = Hands(store, clock)
    first, second = await hands.claim()
    await hands.finish([first])
    await work(store, clock, id)
    assert await hands.due() == []
    await hands.finish([second])
    await work(store, clock, id)
    assert await hands.due() == ["m-3", "m-4", "m-5"]


async def test_a_canary_that_fails_again_stops_it_before_the_rest_is_sent(store, clock):
    id = await start(store, clock, await many_parked(store, 5), Pace(spacing=timedelta(), canaries=2))
    hands = Hands(store, clock)
    await hands.give_up((await hands.claim())[:1])
    await work(store, clock, id)
    standing = await found_redrive(store, id)
    assert (standing.redrive.status, standing.redrive.note) == (RedriveStatus.STOPPED, "1 canary failed again")
    assert await parked_ids(store) == ["m-1", "m-3", "m-4", "m-5"]


async def test_too_many_failures_stop_it_and_call_back_what_nobody_has_in_hand(store, clock):
    id = await start(store, clock, await many_parked(store, 6), Pace(spacing=timedelta(), stop_after=2))
    hands = Hands(store, clock)
    claimed = await hands.claim(limit=3)
    await hands.give_up(claimed[:2])
    await work(store, clock, id)
    assert await counts(store, id) == (0, 1, 3, 2)
    await hands.finish(claimed[2:])
    assert await hands.due() == []
    assert await parked_ids(store) == ["m-1", "m-2", "m-4", "m-5", "m-6"]


async def test_a_stopped_one_goes_on_where_it_stood_when_it_is_resumed(store, clock):
    id = await start(store, clock, await many_parked(store, 4), Pace(spacing=timedelta(hours=1)))
    assert await Hands(store, clock).handle_all() == ["m-1"]
    stopped = await stop_redrive(store, clock, id, "grace")
    assert (stopped.redrive.status, stopped.redrive.note) == (RedriveStatus.STOPPED, "by grace")
    await clock.advance(timedelta(hours=5))
    await work(store, clock, id)
    assert await Hands(store, clock).due() == []
    await resume_redrive(store, clock, id)
    assert await Hands(store, clock).handle_all() == ["m-2"]
    assert await counts(store, id) == (1 + 1, 0, 2, 0)


async def test_what_failed_before_stays_parked_when_it_is_resumed_and_does_not_stop_it_again(store, clock):
    id = await start(store, clock, await many_parked(store, 3), Pace(spacing=timedelta(), canaries=1))
    hands = Hands(store, clock)
    await hands.give_up(await hands.claim())
    await work(store, clock, id)
    await resume_redrive(store, clock, id)
    assert await hands.handle_all() == ["m-2"]  # the next one is the canary now
    await work(store, clock, id)
    assert await hands.handle_all() == ["m-3"]
    await work(store, clock, id)
    assert (await found_redrive(store, id)).redrive.status is RedriveStatus.DONE
    assert await parked_ids(store) == ["m-1"]


async def test_what_waits_behind_a_letter_follows_it_in_order(store, clock):
    numbers = await parked(store, letter(1, key="k"))
    await put_behind(store, "k", 2, 3)
    await start(store, clock, numbers)
    assert await Hands(store, clock).due() == ["m-1", "m-2", "m-3"]


async def test_one_that_is_not_the_first_of_its_key_waits_for_those_before_it(store, clock):
    first, second = await parked(store, letter(1, key="k"), letter(2, key="k"))
    id = await start(store, clock, [second])
    hands = Hands(store, clock)
    assert await hands.due() == []
    assert await counts(store, id) == (0, 1, 0, 0)
    await start(store, clock, [first])
    assert await hands.due() == ["m-1", "m-2"]


async def test_two_who_go_on_with_it_at_once_release_every_letter_once(store, clock):
    numbers = await many_parked(store, 40)
    id = await start(store, clock, numbers, Pace(spacing=SECOND / 10))
    for _ in range(5):
        await clock.advance(SECOND)
        await asyncio.gather(*(advance(store, clock, id) for _ in range(8)))
    standing = await found_redrive(store, id)
    assert (standing.redrive.released, standing.under_way, standing.waiting) == (40, 40, 0)
    assert len(await Hands(store, clock).due()) == 40


async def test_a_large_one_is_released_in_several_transactions(store, clock):
    id = await start(store, clock, await many_parked(store, AT_ONCE + 5))
    assert await counts(store, id) == (0, AT_ONCE, 5, 0)
    await work(store, clock, id)
    assert await counts(store, id) == (0, AT_ONCE + 5, 0, 0)


async def test_what_is_being_redriven_cannot_be_redriven_too_and_nothing_is_changed(store, clock):
    numbers = await many_parked(store, 3)
    await start(store, clock, numbers[:2], Pace(spacing=timedelta(hours=1)))
    before = await store.fetch("select * from antiphon_set_aside")
    with pytest.raises(DeadLetterError, match="1 of 2 letters are being redriven"):
        await start(store, clock, numbers[1:])
    assert await store.fetch("select * from antiphon_set_aside") == before
    assert len(await store.fetch("select * from antiphon_redrives")) == 1


async def test_what_is_no_dead_letter_any_more_cannot_be_redriven(store, clock):
    numbers = await many_parked(store, 2)
    await drop(store, numbers[:1], ADA)
    with pytest.raises(DeadLetterError, match="1 of 2 letters"):
        await start(store, clock, numbers)
    assert await parked_ids(store) == ["m-2"]


async def test_no_letters_are_no_redrive(store, clock):
    with pytest.raises(DeadLetterError, match="nothing to redrive"):
        await start(store, clock, [])


async def test_what_waits_for_a_stopped_redrive_can_go_with_another_one(store, clock):
    numbers = await many_parked(store, 2)
    old = await start(store, clock, numbers, Pace(spacing=timedelta(hours=1)))
    await stop_redrive(store, clock, old, "ada")
    new = await start(store, clock, numbers[1:])
    assert await Hands(store, clock).handle_all() == ["m-2"]
    assert await counts(store, new) == (1, 0, 0, 0)
    assert await counts(store, old) == (0, 0, 1, 0)


async def test_a_letter_that_was_dropped_counts_as_handled_nowhere(store, clock):
    numbers = await many_parked(store, 2)
    id = await start(store, clock, numbers, Pace(spacing=timedelta(hours=1)))
    await Hands(store, clock).handle_all()
    await stop_redrive(store, clock, id, "ada")
    await drop(store, numbers[1:], ADA)
    standing = await found_redrive(store, id)
    assert (standing.handled, standing.redrive.gone, standing.waiting) == (1, 1, 0)


async def test_what_failed_again_and_is_redriven_anew_or_dropped_counts_as_handled_nowhere(store, clock):
    numbers = await many_parked(store, 3)
    old = await start(store, clock, numbers)
    hands = Hands(store, clock)
    await hands.give_up(await hands.claim())
    new = await start(store, clock, numbers[:1])
    await drop(store, numbers[1:2], ADA)
    assert await counts(store, old) == (0, 0, 0, 1)
    assert (await found_redrive(store, old)).redrive.gone == 2
    assert await hands.handle_all() == ["m-1"]
    assert await counts(store, new) == (1, 0, 0, 0)
    assert await counts(store, old) == (0, 0, 0, 1)


async def test_what_was_called_back_counts_as_released_no_more(store, clock):
    id = await start(store, clock, await many_parked(store, 3))
    hands = Hands(store, clock)
    await hands.claim(limit=1)
    assert (await stop_redrive(store, clock, id, "ada")).redrive.released == 1
    assert await counts(store, id) == (0, 1, 2, 0)


async def test_an_unknown_redrive_is_refused_with_those_there_are(store, clock):
    id = await start(store, clock, await many_parked(store, 1))
    for refused in (stop_redrive(store, clock, "nope", "ada"), resume_redrive(store, clock, "nope")):
        with pytest.raises(DeadLetterError, match=f"no redrive 'nope'; the last ones are {id}"):
            await refused


async def test_only_what_runs_is_stopped_and_only_what_stopped_is_resumed(store, clock):
    id = await start(store, clock, await many_parked(store, 1))
    with pytest.raises(DeadLetterError, match="runs, so it cannot be resumed"):
        await resume_redrive(store, clock, id)
    await Hands(store, clock).handle_all()
    await work(store, clock, id)
    with pytest.raises(DeadLetterError, match="is done, so it cannot be stopped"):
        await stop_redrive(store, clock, id, "ada")


@pytest.mark.parametrize("wrong", [{"spacing": -SECOND}, {"canaries": -1}, {"stop_after": 0}])
def test_a_pace_that_cannot_be_kept_is_refused(wrong):
    with pytest.raises(DeadLetterError):
        Pace(**wrong)


async def test_a_letter_tells_which_redrive_it_is_in(store, clock):
    numbers = await many_parked(store, 2)
    id = await start(store, clock, numbers, Pace(spacing=timedelta(hours=1)))
    first, second = await find_any(store, [letter(1).id, letter(2).id])
    assert (first.redrive_state, first.busy) == (RedriveState.RELEASED, id)
    assert (second.redrive_state, second.busy) == (RedriveState.WAITING, id)
    await stop_redrive(store, clock, id, "ada")
    (second,) = await find_any(store, [letter(2).id])
    assert (second.redrive, second.busy) == (id, None)
