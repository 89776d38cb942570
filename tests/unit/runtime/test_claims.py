"""What was claimed is settled where it lies: once, by who holds it, and what waits behind it goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from antiphon.errors import CommitUnknownError, LeaseLostError, StoreUnavailableError
from antiphon.runtime.claims import Claims, claim_of, deliveries_of
from antiphon.runtime.window import FINISHED, LOST, RELEASED, SETTLED, SHELVED
from antiphon.storage.set_aside import AsideState, Attempt, RetryStore
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.set_aside_items import START, an_item, keep, states

HOLD = timedelta(seconds=60)
BEHIND, PARKED = AsideState.BEHIND, AsideState.PARKED


@pytest.fixture
async def database():
    database = SqliteDatabase(":memory:")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def claims(database, clock) -> Claims:
    return Claims(RetryStore("payments", "here", HOLD), database, clock)


async def take(claims: Claims, database, clock, limit: int = 100):
    """Claim what is due, and have it in hand."""
    async with database.transaction() as tx:
        deliveries = deliveries_of(await claims.store.claim(tx, clock.now(), limit))
    claims.track(deliveries)
    return deliveries


async def test_what_was_claimed_comes_with_its_attempts_and_shares_a_run_with_its_lane(claims, database, clock):
    attempts = (Attempt(START, "ValueError", "no"),)
    await keep(database, [an_item(1, attempts=attempts), an_item(2, state=BEHIND), an_item(3, "order-2")])
    one, behind, other = await take(claims, database, clock)
    assert [each.position for each in (one, behind, other)] == ["1", "2", "3"]
    assert (one.attempt, behind.attempt) == (2, 1)
    assert claim_of(one).run is claim_of(behind).run
    assert claim_of(one).run is not claim_of(other).run
    assert (claims.count, claims.bytes) == (3, 3 * len(one.message.data))


async def test_what_is_finished_is_forgotten_and_what_waits_behind_it_is_due(claims, database, clock):
    await keep(database, [an_item(1), an_item(2, state=BEHIND)])
    changes = []
    claims.changed = lambda: changes.append(claims.count)
    (one,) = await take(claims, database, clock, limit=1)
    assert not claims.pending()
    one.state = FINISHED
    assert claims.pending()
    assert await claims.settle() == 1
    assert await claims.settle() == 0
    assert await states(database) == [("2", AsideState.DELAYED, 0)]
    assert (one.state, claims.count, claims.bytes, changes) == (SETTLED, 0, 0, [0])


async def test_what_goes_back_is_free_for_others_and_as_it_was(claims, database, clock):
    await keep(database, [an_item(1), an_item(2, state=BEHIND)])
    _, two = await take(claims, database, clock)
    two.state = RELEASED
    assert await claims.settle() == 1
    assert await states(database) == [("1", 0, 1), ("2", 1, 0)]
    assert claims.count == 1


async def test_followers_that_somebody_still_has_in_hand_are_not_claimed_with_their_head(claims, database, clock):
    """Else they would be let go, as was decided before, after they were claimed again."""
    await keep(database, [an_item(1), an_item(2, state=BEHIND), an_item(3, state=BEHIND)])
    one, two, _ = await take(claims, database, clock)
    async with database.transaction() as tx:
        await claims.again(tx, one, an_item(1, due_at=START))
    claims.drop([one])
    two.state = RELEASED
    assert [each.position for each in await take(claims, database, clock)] == ["1"]
    await claims.settle()
    assert await states(database) == [("1", 0, 1), ("2", 1, 0), ("3", 1, 1)]


async def test_in_a_transaction_it_is_finished_when_that_commits_and_moved_ones_stay(claims, database, clock):
    await keep(database, [an_item(1), an_item(2, "order-2")])
    one, two = await take(claims, database, clock)
    tx = await database.begin()
    await claims.again(tx, two, an_item(2, "order-2", PARKED))
    await claims.settle_in(tx, [one, two], [two])
    await tx.rollback()
    assert await states(database) == [("1", 0, 1), ("2", 0, 1)]
    tx = await database.begin()
    await claims.again(tx, two, an_item(2, "order-2", PARKED))
    await claims.settle_in(tx, [one, two], [two])
    await tx.commit()
    assert await states(database) == [("2", 2, 0)]


async def test_what_others_hold_now_is_lost_with_all_that_is_behind_it_here(claims, database, clock):
    await keep(database, [an_item(1), an_item(2, state=BEHIND)])
    one, two = await take(claims, database, clock)
    await clock.advance(2 * HOLD)
    thief = RetryStore("payments", "elsewhere", HOLD)
    async with database.transaction() as tx:
        assert len(await thief.claim(tx, clock.now(), 1)) == 1
    tx = await database.begin()
    with pytest.raises(LeaseLostError, match="another process holds it now, or it was dropped"):
        await claims.settle_in(tx, [one], ())
    await tx.rollback()
    assert one.state == LOST
    assert claim_of(two).run.is_broken
    assert claims.count == 1
    tx = await database.begin()
    with pytest.raises(LeaseLostError):
        await claims.again(tx, one, an_item(1, state=PARKED))
    await tx.rollback()
    assert await states(database) == [("1", 0, 1), ("2", 1, 1)]


async def test_outside_of_a_transaction_what_others_hold_is_left_to_them(claims, database, clock):
    await keep(database, [an_item(1)])
    (one,) = await take(claims, database, clock)
    await clock.advance(2 * HOLD)
    async with database.transaction() as tx:
        await RetryStore("payments", "elsewhere", HOLD).claim(tx, clock.now(), 1)
    one.state = FINISHED
    await claims.settle()
    assert await states(database) == [("1", 0, 1)]


async def test_what_is_unfinished_is_held_for_longer(claims, database, clock):
    await keep(database, [an_item(number, f"order-{number}") for number in range(3)])
    waiting, finished, shelved = await take(claims, database, clock)
    finished.state, shelved.state = FINISHED, SHELVED
    await clock.advance(0.6 * HOLD)
    await claims.extend()
    await clock.advance(0.6 * HOLD)
    async with database.transaction() as tx:
        found = await RetryStore("payments", "elsewhere", HOLD).claim(tx, clock.now(), 100)
    assert [each.position for each in found] == [finished.position]
    assert waiting.state != LOST


async def test_the_end_lets_go_of_everything_that_is_not_finished(claims, database, clock):
    await keep(database, [an_item(number, f"order-{number}") for number in range(3)])
    _, finished, shelved = await take(claims, database, clock)
    finished.state, shelved.state = FINISHED, SHELVED
    await claims.release()
    assert {held for _, _, held in await states(database)} == {0}
    assert claims.count == 1


async def test_what_is_claimed_again_before_it_is_forgotten_here_stays_in_hand(claims, database, clock):
    """Between the commit that lets it go and what follows that, it may come back."""
    await keep(database, [an_item(1)])
    (before,) = await take(claims, database, clock)
    async with database.transaction() as tx:
        await claims.store.release_all(tx)
    (again,) = await take(claims, database, clock)
    claims.drop([before])
    assert (claims.count, claims.bytes) == (1, len(again.message.data))
    again.state = RELEASED
    assert await claims.settle() == 1
    assert await states(database) == [("1", 0, 0)]
    assert (claims.count, claims.bytes) == (0, 0)


class Unplugged(RetryStore):
    """Cannot finish anything while its plug is pulled."""

    is_unplugged = True

    async def finish(self, tx, numbers):
        if self.is_unplugged:
            raise StoreUnavailableError("the plug was pulled")
        return await super().finish(tx, numbers)


async def test_a_failed_settlement_forgets_nothing(database, clock):
    store = Unplugged("payments", "here", HOLD)
    claims = Claims(store, database, clock)
    await keep(database, [an_item(1)])
    (one,) = await take(claims, database, clock)
    one.state = FINISHED
    with pytest.raises(StoreUnavailableError):
        await claims.settle()
    assert (one.state, claims.count) == (FINISHED, 1)
    store.is_unplugged = False
    assert await claims.settle() == 1


class Changed:
    """As a database, but for what a subclass says."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database

    def __getattr__(self, name: str) -> object:
        return getattr(self.database, name)


class Lossy(Changed):
    """Loses its connection at commits, once they are made."""

    is_lost = True

    @asynccontextmanager
    async def transaction(self):
        async with self.database.transaction() as tx:
            yield tx
        if self.is_lost:
            raise CommitUnknownError("the connection was lost")


async def test_what_was_claimed_though_nobody_heard_of_it_is_let_go_and_what_is_in_hand_is_not(database, clock):
    await keep(database, [an_item(1), an_item(2, "order-2"), an_item(3, "order-2", BEHIND)])
    store = Lossy(database)
    claims = Claims(RetryStore("payments", "here", HOLD), store, clock)
    (one,) = await take(claims, database, clock, limit=1)
    with pytest.raises(CommitUnknownError):
        await claims.claim(clock.now(), 10, ())
    assert await states(database) == [("1", 0, 1), ("2", 0, 1), ("3", 1, 1)]
    with pytest.raises(CommitUnknownError):
        await claims.let_go()
    store.is_lost = False
    await claims.let_go()
    assert await states(database) == [("1", 0, 1), ("2", 0, 0), ("3", 1, 0)]
    assert [each.position for each in await claims.claim(clock.now(), 10, ())] == ["2", "3"]
    assert claims.count == 1
    assert one.state != LOST


class Strict(Changed):
    """Lets several transactions write at once, which see only what there was when they began."""

    isolation, cheap_savepoints = "repeatable-read", False


async def test_where_late_turns_are_refused_what_a_transaction_handled_is_forgotten_after_it(database, clock):
    claims = Claims(RetryStore("payments", "here", HOLD), Strict(database), clock)
    await keep(database, [an_item(1), an_item(2, state=BEHIND), an_item(3, "order-2")])
    one, _, three = await take(claims, database, clock)
    async with database.transaction() as tx:
        await claims.again(tx, three, an_item(3, "order-2", PARKED))
        await claims.settle_in(tx, [one, three], [three])
    claims.drop([one, three])
    assert (one.state, three.state, claims.count) == (FINISHED, SETTLED, 2)
    assert await states(database) == [("1", 0, 1), ("2", 1, 1), ("3", 2, 0)]
    assert await claims.settle() == 1
    assert await states(database) == [("2", 0, 1), ("3", 2, 0)]
    assert (one.state, claims.count) == (SETTLED, 1)


async def test_what_such_a_transaction_did_not_commit_can_still_be_set_aside(database, clock):
    claims = Claims(RetryStore("payments", "here", HOLD), Strict(database), clock)
    await keep(database, [an_item(1)])
    (one,) = await take(claims, database, clock)
    tx = await database.begin()
    await claims.settle_in(tx, [one], ())
    await tx.rollback()
    async with database.transaction() as tx:
        await claims.again(tx, one, an_item(1, state=PARKED))
        await claims.settle_in(tx, [one], [one])
    claims.drop([one])
    assert (one.state, claims.count) == (SETTLED, 0)
    assert await states(database) == [("1", PARKED, 0)]
