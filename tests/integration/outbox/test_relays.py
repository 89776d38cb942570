"""Relays of several processes on one outbox skip nothing, keep the order of keys, and replace one that dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Transaction
from antiphon.storage.outbox import is_outbox_empty, outbox_backlog, stage
from tests.torture.killing import Victim, victim

TOPIC, KEYS, PATIENCE = "words", 20, 40


class Desk:
    """An outbox, the log that it is published to, and the processes that do so."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        self.broker, self.store = EmbeddedBroker(log), connect_store(url)
        self._stack = ExitStack()

    async def open(self) -> None:
        await self.broker.open()
        await self.store.open()

    async def close(self) -> None:
        self._stack.close()
        await self.store.close()
        await self.broker.close()

    def start(self, *how: str) -> Victim:
        module = "tests.integration.outbox.relay_process"
        return self._stack.enter_context(victim(self.url, str(self.log), *how, module=module))

    async def stage(self, count: int) -> list[Message]:
        async with self.store.transaction() as tx:
            return await self.stage_in(tx, count)

    async def stage_in(self, tx: Transaction, count: int) -> list[Message]:
        now = SystemClock().now()
        made = [Message(new_id(), "Said", now, b"{}", f"key-{n % KEYS}", "desk") for n in range(count)]
        await stage(tx, [Outgoing(TOPIC, message) for message in made], now)
        return made

    async def published(self) -> Sequence[Message]:
        if TOPIC not in {topic.name for topic in await self.broker.topics()}:
            return []
        return [delivery.message for delivery in await self.broker.browse(TOPIC, {}, 100_000)]

    async def until_held(self, count: int) -> None:
        """Return when the log holds so many."""
        await self.until(lambda: self._holds(count))

    async def until_empty(self) -> None:
        """Return when nothing rests in the outbox."""
        await self.until(lambda: is_outbox_empty(self.store))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await holds():  # noqa: ASYNC110 - other processes cannot set an event here
                await asyncio.sleep(0.01)

    async def _holds(self, count: int) -> bool:
        return len(await self.published()) >= count


@pytest.fixture(params=["sqlite", "postgres"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    is_file = request.param == "sqlite"
    desk = Desk(
        f"sqlite:///{tmp_path}/store.db" if is_file else request.getfixturevalue("postgres_url"), tmp_path / "log.db"
    )
    await desk.open()
    yield desk
    await desk.close()


def first_of_each(published: Sequence[Message], key: str) -> list[str]:
    """The ids of a key's messages, in the order in which each was published first."""
    return list(dict.fromkeys(message.id for message in published if message.key == key))


async def test_two_processes_publish_each_message_once_and_keep_the_order_of_keys(desk: Desk) -> None:
    for _ in range(2):
        desk.start()
    staged: list[Message] = []
    for _ in range(30):
        staged += await desk.stage(100)
        await asyncio.sleep(0.05)
    await desk.until_empty()
    published = await desk.published()
    assert Counter(message.id for message in published) == Counter(message.id for message in staged)
    for key in {message.key for message in staged}:
        assert first_of_each(published, str(key)) == [message.id for message in staged if message.key == key]


async def test_one_that_dies_between_publishing_and_forgetting_is_replaced_and_only_repeats(desk: Desk) -> None:
    """Its backlog grows old meanwhile, which is what the alert looks at."""
    before = await desk.stage(200)
    dying = desk.start("hangs")
    await desk.until_held(200)
    dying.kill()
    dying.wait()
    await asyncio.sleep(0.2)
    messages, age = await outbox_backlog(desk.store, SystemClock().now())
    assert (messages, age > timedelta(seconds=0.2)) == (200, True)
    for _ in range(2):
        desk.start()
    after = await desk.stage(200)
    await desk.until_empty()
    published = await desk.published()
    wanted = Counter({message.id: 2 for message in before}) + Counter(message.id for message in after)
    assert Counter(message.id for message in published) == wanted
    for key in {message.key for message in before}:
        ids = [message.id for message in (*before, *after) if message.key == key]
        assert first_of_each(published, str(key)) == ids
    assert await outbox_backlog(desk.store, SystemClock().now()) == (0, timedelta())


async def test_what_commits_late_is_not_skipped(postgres_url: str, tmp_path: Path) -> None:
    """Its rows have the lower numbers, and come after those of who began later."""
    desk = Desk(postgres_url, tmp_path / "log.db")
    await desk.open()
    try:
        desk.start()
        late = await desk.store.begin()
        slow = await desk.stage_in(late, 50)
        quick = await desk.stage(50)
        await desk.until_held(50)
        assert {message.id for message in await desk.published()} == {message.id for message in quick}
        await late.commit()
        await desk.until_held(100)
        await desk.until_empty()
        assert Counter(m.id for m in await desk.published()) == Counter(m.id for m in (*slow, *quick))
    finally:
        await desk.close()
