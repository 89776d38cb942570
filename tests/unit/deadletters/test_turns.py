"""A change comes through among many others, or says that it could not."""

import pytest

from antiphon.deadletters.redrive import Pace, advance, found_redrive, resume_redrive, start_redrive, stop_redrive
from antiphon.deadletters.turns import TRIES, in_turn
from antiphon.errors import DeadLetterError, StoreCorruptError, StoreUnavailableError, TransactionConflictError
from antiphon.storage.redrives import RedriveStatus, list_redrives
from tests.unit.deadletters.contested import Contested
from tests.unit.deadletters.letters import many_parked, parked_ids

PARKED = "select count(*) from antiphon_set_aside where state = 2"


async def count_parked(tx):
    ((count,),) = await tx.fetch(PARKED)
    return count


async def test_what_others_were_in_the_way_of_is_done_again(store):
    await many_parked(store, 3)
    contested = Contested(store, TRIES - 1)
    assert await in_turn(contested, count_parked) == 3
    assert contested.begun == TRIES


async def test_who_comes_through_never_is_told(store):
    contested = Contested(store, TRIES)
    with pytest.raises(TransactionConflictError):
        await in_turn(contested, count_parked)
    assert contested.begun == TRIES


async def test_whatever_else_fails_is_not_done_again(store):
    contested = Contested(store, 1, DeadLetterError)
    with pytest.raises(DeadLetterError):
        await in_turn(contested, count_parked)
    assert contested.begun == 1


class Leaving(Contested):
    """Cannot be had any more after so many transactions."""

    def __init__(self, store, after, error=StoreUnavailableError):
        super().__init__(store)
        self.after, self.failure = after, error

    def transaction(self):
        if self.begun >= self.after:
            raise self.failure("it is away")
        return super().transaction()


async def test_a_redrive_that_was_begun_is_no_failure_when_its_first_step_is_one(store, clock):
    numbers = await many_parked(store, 3)
    standing = await start_redrive(Leaving(store, after=1), clock, numbers, Pace(), "ada")
    assert (standing.waiting, standing.under_way, standing.failed) == (3, 0, 0)
    assert [each.redrive.id for each in await list_redrives(store)] == [standing.redrive.id]
    assert await advance(store, clock, standing.redrive.id)
    assert await parked_ids(store) == []


async def test_nor_is_one_that_was_resumed(store, clock):
    id = (await start_redrive(store, clock, await many_parked(store, 3), Pace(), "ada")).redrive.id
    await stop_redrive(store, clock, id, "ada")
    standing = await resume_redrive(Leaving(store, after=1), clock, id)
    assert (standing.redrive.status, standing.waiting) == (RedriveStatus.RUNNING, 3)
    assert (await found_redrive(store, id)).redrive.status is RedriveStatus.RUNNING


async def test_what_cannot_pass_is_told_all_the_same(store, clock):
    with pytest.raises(StoreCorruptError):
        await start_redrive(
            Leaving(store, after=1, error=StoreCorruptError), clock, await many_parked(store, 3), Pace(), "ada"
        )


async def test_stopping_tells_how_the_redrive_stood_then(store, clock):
    id = (await start_redrive(store, clock, await many_parked(store, 3), Pace(), "ada")).redrive.id
    standing = await stop_redrive(Leaving(store, after=1), clock, id, "ada")
    assert (standing.redrive.status, standing.waiting, standing.redrive.note) == (RedriveStatus.STOPPED, 3, "by ada")
