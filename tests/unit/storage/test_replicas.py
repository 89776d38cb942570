"""A replica is the last state that came, by service, entity and key."""

from datetime import UTC, datetime

import pytest

from antiphon.storage.replicas import Entity, Replicas

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def products():
    return Replicas("shipping", "Product")


def state(key, data=b"{}", message_id="m1"):
    return Entity(key, message_id, NOW, data)


async def test_the_last_one_written_wins(tx, products):
    await products.upsert(tx, [state("a", b"1"), state("b", b"2"), state("a", b"3", "m3")])
    assert await products.get(tx, "a") == state("a", b"3", "m3")
    assert await products.get(tx, "b") == state("b", b"2")
    assert await products.count(tx) == 2


async def test_an_unknown_key_has_none(tx, products):
    assert await products.get(tx, "a") is None


async def test_a_tombstone_forgets(tx, products):
    await products.upsert(tx, [state("a"), state("b")])
    await products.delete(tx, ["a", "unknown"])
    assert await products.get(tx, "a") is None
    assert await products.count(tx) == 1


async def test_services_and_entities_share_nothing(tx, products):
    await products.upsert(tx, [state("a")])
    assert await Replicas("orders", "Product").get(tx, "a") is None
    assert await Replicas("shipping", "Customer").get(tx, "a") is None


async def test_a_database_reads_what_is_committed(database, tx, products):
    await products.upsert(tx, [state("a")])
    assert await products.get(database, "a") is None
    await tx.commit()
    assert await products.get(database, "a") == state("a")
