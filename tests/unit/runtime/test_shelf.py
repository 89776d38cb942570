"""What is set aside outside of transactions waits in order, blocks its lane meanwhile, and is written once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from antiphon.brokers.capabilities import Capabilities
from antiphon.errors import LeaseLostError
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.claims import Claims, claim_of, deliveries_of
from antiphon.runtime.shelf import Shelf
from antiphon.runtime.window import LOST, SHELVED
from antiphon.storage.set_aside import AsideState, RetryStore
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.set_aside_items import START, a_work, an_item, keep, states
from tests.unit.runtime.test_claims import HOLD, take


@pytest.fixture
async def database():
    database = SqliteDatabase(":memory:")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def around(database) -> SimpleNamespace:
    clock, store = VirtualClock(START), RetryStore("payments", "here", HOLD)
    claims = Claims(store, database, clock)
    blocks = Blocks(store, database, clock, Capabilities(model="log", durable=True, key_order=True))
    return SimpleNamespace(clock=clock, claims=claims, blocks=blocks, shelf=Shelf(claims, blocks))


async def write(around, database) -> None:
    """As the flusher does it."""
    taken = len(around.shelf)
    puts = around.shelf.gathered(taken)
    async with database.transaction() as tx:
        await around.shelf.write(tx, puts)
    around.shelf.written(taken, puts)


async def test_what_is_put_there_blocks_its_lane_at_once_and_stays_blocked_once_written(around, database):
    work, news = a_work(), []
    around.shelf.changed = lambda: news.append(len(around.shelf))
    around.shelf.put(work.delivery, an_item(1))
    assert (work.delivery.state, news) == (SHELVED, [1])
    assert around.blocks.holds(a_work())
    await write(around, database)
    assert around.blocks.holds(a_work())
    assert len(around.shelf) == 0
    assert await states(database) == [("1", AsideState.DELAYED, 0)]


async def test_what_follows_is_written_behind_it_and_what_comes_meanwhile_waits_for_the_next_time(around, database):
    around.shelf.put(a_work().delivery, an_item(1))
    around.shelf.put(a_work().delivery, an_item(2, state=AsideState.BEHIND))
    taken = len(around.shelf)
    puts = around.shelf.gathered(taken)
    around.shelf.put(a_work().delivery, an_item(3, state=AsideState.BEHIND))
    async with database.transaction() as tx:
        await around.shelf.write(tx, puts)
    around.shelf.written(taken, puts)
    assert [position for position, _, _ in await states(database)] == ["1", "2"]
    assert len(around.shelf) == 1
    await write(around, database)
    assert await states(database) == [("1", 0, 0), ("2", 1, 0), ("3", 1, 0)]


async def test_what_was_lost_meanwhile_is_not_written_and_blocks_nothing(around, database):
    lost, kept = a_work("order-1"), a_work("order-2")
    around.shelf.put(lost.delivery, an_item(1))
    around.shelf.put(kept.delivery, an_item(2, "order-2"))
    lost.delivery.state = LOST
    await write(around, database)
    assert [position for position, _, _ in await states(database)] == ["2"]
    assert not around.blocks.holds(a_work("order-1"))
    assert around.blocks.holds(a_work("order-2"))


async def test_what_waits_behind_nothing_any_more_is_due_at_once(around, database):
    """Its lane was worked off elsewhere since it was looked at."""
    around.shelf.put(a_work().delivery, an_item(1, state=AsideState.BEHIND))
    await write(around, database)
    assert await states(database) == [("1", AsideState.DELAYED, 0)]


async def test_what_would_be_tried_again_waits_where_its_lane_holds_something_already(around, database):
    await keep(database, [an_item(1, state=AsideState.PARKED)])
    around.shelf.put(a_work().delivery, an_item(2))
    await write(around, database)
    assert await states(database) == [("1", 2, 0), ("2", 1, 0)]


async def test_a_claimed_one_is_put_back_in_its_place_and_breaks_the_run_behind_it(around, database):
    await keep(database, [an_item(1), an_item(2, state=AsideState.BEHIND)])
    one, two = await take(around.claims, database, around.clock)
    around.shelf.put(one, an_item(1, state=AsideState.PARKED, reason="ValueError"))
    assert claim_of(two).run.is_broken
    await write(around, database)
    assert await states(database) == [("1", 2, 0), ("2", 1, 1)]


async def test_a_claimed_one_that_others_hold_now_is_refused(around, database):
    await keep(database, [an_item(1)])
    async with database.transaction() as tx:
        (one,) = deliveries_of(await RetryStore("payments", "elsewhere", HOLD).claim(tx, START, 1))
    around.claims.track([one])
    around.shelf.put(one, an_item(1, state=AsideState.PARKED))
    tx = await database.begin()
    with pytest.raises(LeaseLostError):
        await around.shelf.write(tx, around.shelf.gathered(1))
    await tx.rollback()
    assert one.state == LOST
    assert around.shelf.gathered(1) == []
