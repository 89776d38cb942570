"""Relays go on when somebody sets the clock back: nothing waits for the old time to come again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from antiphon.outbox.leases import TTL
from antiphon.storage.outbox import BUCKETS
from tests.unit.outbox.test_relay import World

HOUR = timedelta(hours=1)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.broker.open()
    await world.store.open()
    yield world
    await world.stop()
    await world.broker.close()
    await world.store.close()


def set_back(world: World) -> None:
    """As somebody does who mends the time of the machine; what measures durations goes on."""
    world.clock._start -= HOUR


async def test_relays_that_live_keep_their_buckets_and_publish_each_message_once_and_in_order(world: World) -> None:
    relays = [await world.run(), await world.run()]
    await world.clock.advance(3 * TTL)
    before = [set(relay._leases.owned) for relay in relays]
    await world.stage("a", "b", key="one")
    set_back(world)
    await world.stage("c", "d", key="one")
    await world.clock.advance(3 * TTL)
    await world.stage("e", key="one")
    assert world.said == ["a", "b", "c", "d", "e"]
    assert [set(relay._leases.owned) for relay in relays] == before


async def test_what_a_dead_relay_held_is_taken_over_although_its_leases_end_in_an_hour(world: World) -> None:
    dead, other = await world.run(), await world.run()
    await world.clock.advance(3 * TTL)
    for task in dead._tasks:
        task.cancel()
    set_back(world)
    for number in range(20):
        await world.stage(f"{number}", key=f"key-{number}")
    await world.clock.advance(timedelta(seconds=1))
    assert 0 < len(world.said) < 20
    await world.clock.advance(2 * TTL)
    assert sorted(world.said) == sorted(map(str, range(20)))
    assert len(other._leases.owned) == BUCKETS


async def test_what_waits_for_a_broker_waits_no_longer_for_that(world: World) -> None:
    await world.run()
    world.broker.busy = ["a"]
    await world.stage("a", "b", key="one")
    set_back(world)
    await world.clock.advance(timedelta(seconds=1))
    world.broker.busy = ()
    await world.clock.advance(2 * TTL)
    assert world.said == ["a", "b"]
