"""What is due comes back when it is, a bounded number at a time, and what nobody here knows is left to others."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from types import SimpleNamespace

import pytest
from msgspec import structs

from antiphon.brokers.capabilities import Capabilities
from antiphon.errors import StoreUnavailableError
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.claims import Claims
from antiphon.runtime.retrying import MOST, UNKNOWN, Retrying
from antiphon.runtime.shelf import Shelf
from antiphon.runtime.window import FINISHED
from antiphon.storage.set_aside import AsideState, RetryStore
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.set_aside_items import START, a_route, an_item, keep, states
from tests.unit.runtime.shop_events import a_message
from tests.unit.runtime.test_claims import HOLD, Lossy

SECOND = timedelta(seconds=1)
LOG = Capabilities(model="log", durable=True, key_order=True)


class World(SimpleNamespace):
    """What a consumer has around it, as much as this needs."""


class Unsteady:
    """A database that cannot be read for a while."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database, self.is_away, self.asked = database, False, 0

    async def fetch(self, sql, *args, row=None):
        self.asked += 1
        if self.is_away:
            raise StoreUnavailableError("it is away")
        return await self.database.fetch(sql, *args, row=row)

    async def begin(self):
        return await self.database.begin()


@pytest.fixture
async def database():
    database = SqliteDatabase(":memory:")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def world(database) -> World:
    clock, store = VirtualClock(START), RetryStore("payments", "here", HOLD)
    claims = Claims(store, database, clock)
    news = asyncio.Event()
    claims.changed = news.set
    blocks = Blocks(store, database, clock, LOG)
    return World(
        service="payments",
        group="payments",
        code_version="",
        clock=clock,
        store=Unsteady(database),
        settling=SimpleNamespace(claims=claims),
        shelf=Shelf(claims, blocks),
        gates=SimpleNamespace(shut=[]),
        set_aside_news=news,
        draining=False,
        log=logging.getLogger("test"),
        waits=lambda told, error: None,
    )


@pytest.fixture
def got() -> list:
    return []


@pytest.fixture
def retrying(world, got) -> Retrying:
    route = a_route()
    route.instruments.redriven = SimpleNamespace(inc=lambda count: None)
    return Retrying(world, {"orders": {"OrderPlaced": route}}, got.extend)


@pytest.fixture
async def running(retrying):
    task = asyncio.create_task(retrying.run())
    yield task
    task.cancel()


def positions(works) -> list[str]:
    return [work.delivery.position for work in works]


async def test_it_comes_when_it_is_due_and_not_before(world, database, got, running):
    await keep(database, [an_item(1, due_at=START + 90 * SECOND)])
    await world.clock.advance(89 * SECOND)
    assert got == []
    await world.clock.advance(SECOND)
    assert positions(got) == ["1"]
    await world.clock.advance(HOLD / 2)
    assert positions(got) == ["1"]


async def test_what_is_set_aside_here_is_not_waited_for_longer_than_it_says(world, database, got, running):
    await world.clock.rest()
    await keep(database, [an_item(1, due_at=START + 3 * SECOND)])
    world.set_aside_news.set()
    await world.clock.advance(3 * SECOND)
    assert positions(got) == ["1"]


async def test_what_others_set_aside_is_found_sooner_or_later(world, database, got, running):
    await world.clock.rest()
    await keep(database, [an_item(1)])
    await world.clock.advance(timedelta(minutes=1))
    assert positions(got) == ["1"]


async def test_a_lane_comes_in_order_up_to_what_is_parked_in_it(database, got, retrying):
    items = [an_item(1), an_item(2, state=AsideState.BEHIND), an_item(3, state=AsideState.PARKED)]
    await keep(database, [*items, an_item(4, state=AsideState.BEHIND)])
    assert await retrying.take() == 2
    assert positions(got) == ["1", "2"]


async def test_no_more_is_in_hand_than_there_is_room_for_and_the_rest_follows(world, database, got, running):
    await keep(database, [an_item(number, f"order-{number}") for number in range(MOST + 10)])
    world.set_aside_news.set()
    await world.clock.advance(SECOND)
    assert len(got) == MOST
    for work in got:
        work.delivery.state = FINISHED
    await world.settling.claims.settle()
    await world.clock.advance(SECOND)
    assert len(set(positions(got))) == MOST + 10


async def test_nothing_is_claimed_of_a_topic_that_is_stopped(world, database, got, retrying):
    await keep(database, [an_item(1)])
    world.gates.shut = ["orders"]
    assert await retrying.take() == 0
    assert not await retrying.has_due()
    world.gates.shut = ["prices"]
    assert await retrying.has_due()
    assert await retrying.take() == 1


async def test_nothing_is_claimed_once_a_drain_began(world, database, got, retrying):
    await keep(database, [an_item(1)])
    world.draining = True
    assert await retrying.take() == 0
    assert await states(database) == [("1", 0, 0)]


async def test_what_nobody_here_handles_is_put_off_and_counts_no_attempt(world, database, got, retrying):
    await keep(database, [an_item(1, message=structs.replace(a_message(), type="Stray"))])
    await retrying.take()
    assert got == []
    ((delivery, item),) = world.shelf.gathered(1)
    assert (item.state, item.due_at, item.attempts) == (AsideState.DELAYED, START + UNKNOWN, ())
    async with database.transaction() as tx:
        await world.shelf.write(tx, [(delivery, item)])
    assert await states(database) == [("1", 0, 0)]


async def test_what_is_in_hand_is_held_for_as_long_as_it_takes(world, database, retrying):
    await keep(database, [an_item(1)])
    await retrying.take()
    extending = asyncio.create_task(retrying.extend())
    await world.clock.advance(5 * HOLD)
    async with database.transaction() as tx:
        assert await RetryStore("payments", "elsewhere", HOLD).claim(tx, world.clock.now(), 1) == []
    extending.cancel()


async def test_a_store_that_is_away_is_asked_less_and_less_often_and_then_it_goes_on(world, database, got, running):
    await world.clock.rest()
    await keep(database, [an_item(1)])
    world.store.is_away, asked = True, world.store.asked
    world.set_aside_news.set()
    await world.clock.advance(timedelta(minutes=5))
    assert 5 < world.store.asked - asked < 100
    assert not running.done()
    world.store.is_away = False
    await world.clock.advance(10 * SECOND)
    assert positions(got) == ["1"]


async def test_what_was_claimed_when_the_connection_was_lost_comes_all_the_same(world, database, got, running):
    store = Lossy(database)
    world.settling.claims._database = store
    await keep(database, [an_item(1), an_item(2, state=AsideState.BEHIND)])
    world.set_aside_news.set()
    await world.clock.rest()
    assert (await states(database), got) == ([("1", 0, 1), ("2", 1, 1)], [])
    store.is_lost = False
    await world.clock.advance(10 * SECOND)
    assert positions(got) == ["1", "2"]
