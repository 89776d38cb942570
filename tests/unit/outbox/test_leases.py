"""Leases end when they say so, wherever on earth their holders are."""

import time
from datetime import timedelta

import pytest

from antiphon.outbox.leases import TTL, BucketLeases
from antiphon.storage.outbox import BUCKETS
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock


@pytest.fixture(params=["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York"])
def somewhere(request, monkeypatch):
    """A machine whose clock shows the time of this place."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_what_is_held_stays_held_while_its_owner_keeps_it_up(somewhere):
    store, clock = SqliteDatabase(":memory:"), VirtualClock()
    await store.open()
    relays = [BucketLeases(store, clock, token=f"relay-{number}") for number in range(3)]
    for _ in range(6):
        for relay in relays:
            await relay.keep_up()
        await clock.advance(TTL / 3)
    shares = [set(relay.owned) for relay in relays]
    assert sorted(bucket for share in shares for bucket in share) == list(range(BUCKETS))
    for _ in range(10):
        for relay in relays:
            assert not await relay.keep_up()
        await clock.advance(timedelta(seconds=1))
    assert [set(relay.owned) for relay in relays] == shares
    await store.close()
