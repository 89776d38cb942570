"""Whatever is sought, taken away, stopped or failed meanwhile: every message takes effect once, in its key's order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from antiphon import Key, Retry, Service, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import SeekTo
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import ServiceSettings, Settings
from tests.integration.embedded.silence import silence

SECONDS = 2.5


@event(topic="storm-orders")
class Ordered(Struct, frozen=True):
    """An order in a storm."""

    key: Key[str]
    number: int


@event(topic="storm-payments")
class Paid(Struct, frozen=True):
    """What follows it."""

    key: Key[str]
    number: int


class Member:
    """One process of the service, as far as the others can tell: a broker of its own on the same file."""

    def __init__(self, path: Path, own: bool, chance: random.Random) -> None:
        self.broker = EmbeddedBroker(
            path, lease=timedelta(seconds=1), grace=timedelta(milliseconds=200), beat=timedelta(milliseconds=20)
        )
        self.service = Service("payments", policy=Retry(immediate=50))

        @self.service.on(Ordered, transaction="own" if own else "shared", guarantee="effectively_once")
        async def take(order: Ordered, tx: Transaction) -> Paid:
            if own and chance.random() < 0.05:
                await asyncio.sleep(0.002)
            await tx.execute("insert into effects (key, number) values (?, ?)", order.key, order.number)
            if chance.random() < 0.03:
                raise ValueError("at random, after its write")
            if chance.random() < 0.01:
                await asyncio.sleep(0.003)
            return Paid(order.key, order.number)

    async def start(self) -> None:
        common = ServiceSettings(broker=self.broker.url, drain_timeout=timedelta(seconds=1))
        await self.service.start(self.broker, Settings(common=common))

    async def stall(self) -> None:
        """Look to the others like a process that hangs for a while."""
        for subscription in tuple(self.broker._subscriptions):
            await silence(self.broker, subscription)
            await asyncio.sleep(0.05)
            self.broker._subscriptions.append(subscription)


@pytest.fixture
async def members(tmp_path: Path, own: bool, chance: random.Random) -> AsyncIterator[list[Member]]:
    found = [Member(tmp_path / "log.db", own, chance) for _ in range(2)]
    for member in found:
        await member.broker.open()
    async with found[0].broker.database.transaction() as tx:
        await tx.execute("create table effects (place integer primary key autoincrement, key text, number integer)")
    for member in found:
        await member.start()
    yield found
    for member in found:
        await member.service.stop()
        await member.broker.close()


@pytest.fixture
def chance() -> random.Random:
    return random.Random()


async def publish(member: Member, chance: random.Random) -> int:
    """Publish numbered orders of twenty keys until the storm is over; returns how many."""
    composer, numbers = Composer("storm", SystemClock()), Counter[str]()
    published, end = 0, asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < end:
        batch: list[Outgoing] = []
        for _ in range(chance.randrange(1, 60)):
            key = f"key-{chance.randrange(20)}"
            batch.append(composer.first(Ordered(key, numbers[key])))
            numbers[key] += 1
        await member.broker.publish(batch)
        published += len(batch)
        await asyncio.sleep(chance.random() * 0.02)
    return published


async def rage(members: list[Member], chance: random.Random) -> None:
    """Move the group back, let a member hang, or restart one, at random."""
    end = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(chance.random() * 0.2)
        member = chance.choice(members)
        match chance.randrange(3):
            case 0:
                await member.broker.seek("payments", "storm-orders", SeekTo.START)
            case 1:
                await member.stall()
            case _:
                await member.service.stop()
                await asyncio.sleep(chance.random() * 0.1)
                await member.start()


@pytest.mark.parametrize("own", [False, True])
async def test_every_message_takes_effect_once_in_the_order_of_its_key(
    members: list[Member], own: bool, chance: random.Random
) -> None:
    published, _ = await asyncio.gather(publish(members[0], chance), rage(members, chance))
    async with asyncio.timeout(30):
        while not all([await member.service.caught_up() for member in members]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    database = members[0].broker.database
    effects = await database.fetch("select key, number from effects order by place")
    assert len(effects) == len(set(effects)) == published
    by_key = defaultdict[object, list[object]](list)
    for key, number in effects:
        by_key[key].append(number)
    assert all(numbers == list(range(len(numbers))) for numbers in by_key.values())
    (emitted,) = [topic.messages for topic in await members[0].broker.topics() if topic.name == "storm-payments"]
    assert emitted == published
