"""What only others are in the way of is done again, a bounded number of times; all else is told at once."""

import pytest

from antiphon.errors import CommitUnknownError, LeaseLostError, StatementError, StoreUnavailableError
from antiphon.errors import TransactionConflictError as Conflict
from antiphon.storage.conflicts import FIRST_PAUSE, LONGEST_PAUSE, TRIES, persistently


class Clock:
    """Of which time passes when somebody sleeps."""

    def __init__(self):
        self.pauses = []

    async def sleep(self, duration):
        self.pauses.append(duration)


class Step:
    """Fails with these, one after the other, and then comes through."""

    def __init__(self, *errors):
        self.errors = [*errors]

    async def __call__(self):
        if self.errors:
            raise self.errors.pop(0)
        return "through"


@pytest.fixture
def clock():
    return Clock()


async def test_what_is_in_nobodys_way_is_done_once(clock):
    assert await persistently(Step(), clock) == "through"
    assert clock.pauses == []


async def test_it_is_done_again_after_a_conflict_and_when_nobody_knows_whether_it_was(clock):
    assert await persistently(Step(Conflict("busy"), CommitUnknownError("lost"), Conflict("busy")), clock) == "through"
    assert len(clock.pauses) == 3


async def test_the_pauses_grow_within_bounds(clock):
    assert await persistently(Step(*[Conflict("busy")] * (TRIES - 1)), clock) == "through"
    longest = [min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE) for tries in range(TRIES - 1)]
    assert all(pause <= limit for pause, limit in zip(clock.pauses, longest, strict=True))
    assert len(set(clock.pauses)) == TRIES - 1


async def test_it_ends_with_the_last_conflict(clock):
    step = Step(*[Conflict(str(number)) for number in range(100)])
    with pytest.raises(Conflict, match=str(TRIES - 1)):
        await persistently(step, clock)
    assert len(step.errors) == 100 - TRIES


@pytest.mark.parametrize("kind", [StoreUnavailableError, LeaseLostError, StatementError, ValueError])
async def test_what_is_no_conflict_is_told_at_once(clock, kind):
    with pytest.raises(kind):
        await persistently(Step(kind("no")), clock)
    assert clock.pauses == []
