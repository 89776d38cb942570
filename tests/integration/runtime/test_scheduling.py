"""Scripts schedule as services do, for whichever service runs then."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from antiphon import Key, Service, Struct, event, publish_blocking
from antiphon.brokers.ports import Broker
from antiphon.errors import UnsupportedCapabilityError, UsageError
from antiphon.runtime.scheduling import schedule_of
from antiphon.storage.connect import connect_store
from antiphon.storage.schedule import count_scheduled, list_scheduled

HOUR = timedelta(hours=1)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


def test_a_script_gets_the_ids_of_what_it_publishes_now_and_later(tmp_path: Path) -> None:
    url = f"embedded:///{tmp_path}/log.db"
    due = datetime.now(UTC) + timedelta(milliseconds=200)
    now = publish_blocking(OrderPlaced("now"), broker=url)
    soon = publish_blocking(OrderPlaced("soon"), OrderPlaced("as soon"), broker=url, at=due, deadline=HOUR)
    later = publish_blocking(OrderPlaced("later"), broker=url, delay=HOUR)
    handled, service = list[str](), Service("service", broker=url)

    @service.on(OrderPlaced)
    async def take(order: OrderPlaced) -> None:
        handled.append(order.order_id)

    async def run() -> list[str]:
        async with service:
            async with asyncio.timeout(10):
                while len(handled) < 3:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
            return [each.id for each in await list_scheduled(service.store)]

    assert asyncio.run(run()) == list(later)
    assert set(handled) == {"now", "soon", "as soon"}
    assert len({*now, *soon, *later}) == 4


def test_what_a_script_schedules_waits_in_the_store_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "antiphon.toml").write_text('store = "sqlite:///app.db"\n')
    ids = publish_blocking(OrderPlaced("o-1"), delay=HOUR)

    async def waiting() -> list[str]:
        store = connect_store(f"sqlite:///{tmp_path}/app.db")
        await store.open()
        try:
            return [each.id for each in await list_scheduled(store)]
        finally:
            await store.close()

    assert asyncio.run(waiting()) == list(ids)


async def test_a_script_inside_an_event_loop_is_told_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"await Service\.publish"):
        publish_blocking(OrderPlaced("o-1"), delay=HOUR)


def test_a_time_that_cannot_be_makes_no_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both say when"):
        publish_blocking(OrderPlaced("o-1"), broker=f"embedded:///{tmp_path}/log.db", at=datetime.now(UTC), delay=HOUR)
    assert list(tmp_path.iterdir()) == []


def test_a_broker_without_a_database_is_told_of() -> None:
    with pytest.raises(UnsupportedCapabilityError, match="the broker far://away has no database"):
        schedule_of(cast("Broker", SimpleNamespace(url="far://away")))


async def test_a_handlers_transaction_and_the_schedule_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Scheduling in the application's transaction takes no second one: that would wait for the first for ever."""
    async with Service("service", broker=f"embedded:///{tmp_path}/log.db") as service:
        began = time.monotonic()
        async with service.transaction() as (tx, publisher):
            id = await publisher.publish(OrderPlaced("o-1"), delay=HOUR)
            assert await service.cancel(id, tx)
        assert time.monotonic() - began < 5
        assert await service.scheduled() == []


async def test_nothing_is_left_of_what_was_published(tmp_path: Path) -> None:
    async with Service("service", broker=f"embedded:///{tmp_path}/log.db") as service:
        await service.publish_all([OrderPlaced(f"o-{number}") for number in range(100)], delay=timedelta())
        async with asyncio.timeout(10):
            while not await service.caught_up():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert await count_scheduled(service.store) == 0
        assert [topic.messages for topic in await service.broker.topics()] == [100]
