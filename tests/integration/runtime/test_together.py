"""An application's rows and events commit together, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon import Key, Service, Struct, event
from antiphon.errors import ClosedError


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture
async def storefront(tmp_path: Path) -> AsyncIterator[Service]:
    service = Service("storefront", broker=f"embedded:///{tmp_path}/log.db")
    async with service:
        async with service.transaction() as (tx, _):
            await tx.execute("create table placed (order_id text)")
        yield service


async def held(service: Service) -> tuple[int, int]:
    """How many rows and how many events there are."""
    (rows,) = await service.store.fetch("select count(*) from placed", row=int)
    return rows, sum(topic.messages for topic in await service.broker.topics())


async def test_rows_and_events_are_there_together(storefront: Service) -> None:
    async with storefront.transaction() as (tx, publisher):
        await tx.execute("insert into placed values ('o-1')")
        await publisher.publish(OrderPlaced("o-1"))
        await publisher.publish(OrderPlaced("o-2"))
        assert await held(storefront) == (0, 0)
    assert await held(storefront) == (1, 2)


async def test_neither_is_there_after_a_failure(storefront: Service) -> None:
    async def fail() -> None:
        async with storefront.transaction() as (tx, publisher):
            await tx.execute("insert into placed values ('o-1')")
            await publisher.publish(OrderPlaced("o-1"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await fail()
    assert await held(storefront) == (0, 0)


async def test_many_events_are_published_with_one_commit(storefront: Service) -> None:
    before = storefront.store.counters.commits
    await storefront.publish_all(OrderPlaced(f"o-{number}") for number in range(100))
    assert storefront.store.counters.commits == before + 1
    assert await held(storefront) == (0, 100)


def test_a_service_that_was_not_started_has_no_transaction() -> None:
    with pytest.raises(ClosedError):
        Service("storefront").transaction()
