"""Whatever dies, what is scheduled is not lost, not overtaken, and never both published and canceled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.storage.database import Database
from antiphon.storage.schedule import cancel, count_scheduled, list_scheduled, schedule
from tests.torture.due import HOLD, scheduled_publishing, store_beside
from tests.torture.killing import Victim, victim

TOPIC, PATIENCE = "reminders", 30
NOW, SOON = timedelta(), timedelta(milliseconds=300)
LONG_ENOUGH = timedelta(seconds=1.5)
"""For processes to start, and to wait for the same moment."""


class Desk:
    """A log, a schedule for it, and the processes that publish what is due."""

    def __init__(self, role: str, log: Path) -> None:
        self.role, self.log = role, log
        self.broker = EmbeddedBroker(log)
        self.store: Database = self.broker.database if role == "together" else store_beside(log)
        self._stack = ExitStack()

    async def open(self) -> None:
        await self.broker.open()
        await self.store.open()

    async def close(self) -> None:
        self._stack.close()
        await self.store.close()
        await self.broker.close()

    def start(self, role: str = "") -> Victim:
        return self._stack.enter_context(victim(role or self.role, str(self.log), module="tests.torture.due"))

    async def schedule(self, delay: timedelta, count: int, *, keys: int = 20) -> list[str]:
        now = SystemClock().now()
        made = [Message(new_id(), "Reminded", now, b"{}", f"key-{n % keys}", "desk") for n in range(count)]
        async with self.store.transaction() as tx:
            await schedule(tx, [Outgoing(TOPIC, message) for message in made], now + delay)
        return [message.id for message in made]

    async def until_published(self) -> None:
        """Return when nothing is scheduled any more."""
        await self._until(self._is_empty)

    async def until_in_hand(self) -> None:
        """Return when somebody has something in hand."""
        await self._until(self._is_in_hand)

    async def until_held(self, count: int) -> None:
        """Return when the log holds so many."""
        await self._until(lambda: self._holds(count))

    async def _is_empty(self) -> bool:
        return not await count_scheduled(self.store)

    async def _is_in_hand(self) -> bool:
        return any(each.is_publishing for each in await list_scheduled(self.store))

    async def _holds(self, count: int) -> bool:
        return len(await self.published()) >= count

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await holds():  # noqa: ASYNC110 - other processes cannot set an event here
                await asyncio.sleep(0.01)

    async def published(self) -> list[Message]:
        if TOPIC not in {topic.name for topic in await self.broker.topics()}:
            return []
        return [delivery.message for delivery in await self.broker.browse(TOPIC, {}, 100_000)]

    async def cancel(self, id: str) -> bool:
        async with self.store.transaction() as tx:
            return await cancel(tx, [id]) == [id]


@pytest.fixture(params=["together", "leased"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(request.param, tmp_path / "log.db")
    await desk.open()
    yield desk
    await desk.close()


@pytest.fixture
async def leased(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk("leased", tmp_path / "log.db")
    await desk.open()
    yield desk
    await desk.close()


async def test_two_processes_publish_each_once_and_keep_the_order_of_keys(desk: Desk) -> None:
    for _ in range(2):
        desk.start()
    ids = await desk.schedule(LONG_ENOUGH, 3000)
    await desk.until_published()
    published = await desk.published()
    assert Counter(message.id for message in published) == Counter(ids)
    for key in range(20):
        assert [message.id for message in published if message.key == f"key-{key}"] == ids[key::20]


async def test_a_process_that_dies_before_it_publishes_loses_nothing(leased: Desk) -> None:
    ids = await leased.schedule(NOW, 100)
    dying = leased.start("claims")
    await leased.until_in_hand()
    dying.kill()
    dying.wait()
    assert await leased.published() == []
    leased.start()
    await leased.until_published()
    assert Counter(message.id for message in await leased.published()) == Counter(ids)


async def test_a_process_that_dies_after_it_published_leaves_it_to_be_published_again_under_the_same_ids(
    leased: Desk,
) -> None:
    ids = await leased.schedule(NOW, 100)
    dying = leased.start("publishes")
    await leased.until_held(100)
    dying.kill()
    dying.wait()
    leased.start()
    await leased.until_published()
    assert Counter(message.id for message in await leased.published()) == Counter(ids * 2)


async def test_what_a_dead_process_had_in_hand_cannot_be_canceled_since_it_may_be_out(leased: Desk) -> None:
    ids = await leased.schedule(NOW, 10)
    dying = leased.start("publishes")
    await leased.until_in_hand()
    dying.kill()
    dying.wait()
    await asyncio.sleep(HOLD.total_seconds())
    assert not any([await leased.cancel(id) for id in ids])


async def test_what_is_canceled_is_not_published_and_what_is_published_is_not_canceled(desk: Desk) -> None:
    for _ in range(2):
        desk.start()
    canceled, wanted = set[str](), list[str]()
    for _ in range(10):
        delay = SOON * random.uniform(0.3, 1)
        ids = await desk.schedule(delay, 50)
        wanted += ids
        await asyncio.sleep(delay.total_seconds())
        for id in random.sample(ids, 50):
            if await desk.cancel(id):
                canceled.add(id)
    await desk.until_published()
    published = Counter(message.id for message in await desk.published())
    assert set(published) == set(wanted) - canceled
    assert set(published.values()) <= {1}
    assert published
    assert canceled


async def test_what_another_process_schedules_is_published_soon(desk: Desk) -> None:
    """Nobody rings there, so it is noticed by the next look."""
    runner = scheduled_publishing(desk.broker, desk.store)
    await runner.start()
    ids = await desk.schedule(NOW, 10, keys=1)
    await desk.until_published()
    assert [message.id for message in await desk.published()] == ids
    await runner.drain()
