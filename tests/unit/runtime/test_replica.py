"""A local copy of another service's entities: the newest event of each key, and nothing of what is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from antiphon import Service
from antiphon.testing import Harness
from tests.unit.runtime.shop_events import PriceSet

service = Service("catalog")
prices = service.replica(PriceSet)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with Harness(service) as harness:
        yield harness


async def test_it_gives_what_was_said_last(harness):
    await harness.give(PriceSet("tea", 300), PriceSet("milk", 90), PriceSet("tea", 310))
    assert await prices.get(harness.store, "tea") == PriceSet("tea", 310)
    assert await prices.get(harness.store, "milk") == PriceSet("milk", 90)
    assert await prices.count(harness.store) == 2


async def test_it_gives_nothing_for_what_it_never_heard_of(harness):
    assert await prices.get(harness.store, "salt") is None
    assert await prices.count(harness.store) == 0


async def test_a_tombstone_removes(harness):
    await harness.give(PriceSet("tea", 300))
    await harness.give_message(structs.replace(harness.message(PriceSet("tea", 0)), data=None))
    assert await prices.get(harness.store, "tea") is None
    assert await prices.count(harness.store) == 0


async def test_it_can_be_read_in_a_transaction(harness):
    await harness.give(PriceSet("tea", 300))
    async with harness.store.transaction() as tx:
        assert await prices.get(tx, "tea") == PriceSet("tea", 300)


async def test_two_services_keep_copies_of_their_own(harness):
    other = Service("other").replica(PriceSet)
    await harness.give(PriceSet("tea", 300))
    assert await other.get(harness.store, "tea") is None


async def test_what_is_newer_than_the_code_is_kept_as_far_as_it_is_understood(harness):
    message = structs.replace(
        harness.message(PriceSet("tea", 1)), schema_version=2, data=b'{"product":"tea","pence":2,"x":1}'
    )
    await harness.give_message(message)
    assert await prices.get(harness.store, "tea") == PriceSet("tea", 2)


async def test_data_that_does_not_fit_is_parked_when_it_comes_not_when_it_is_read(harness):
    await harness.give(PriceSet("tea", 300))
    bad = structs.replace(harness.message(PriceSet("tea", 0)), data=b'{"product":"tea"}')
    with pytest.raises(Exception, match="pence"):
        await harness.give_message(bad)
    assert await prices.get(harness.store, "tea") == PriceSet("tea", 300)
