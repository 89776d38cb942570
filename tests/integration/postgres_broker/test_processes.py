"""Do processes share the log as promised when they join and die?"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from antiphon.brokers.ports import SeekTo
from antiphon.brokers.postgres import PostgresBroker
from tests.integration.postgres_broker.processes import ANSWERS, EFFECTS, GROUP, TOPIC, Child

Spawn = Callable[[str], Child]


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.02)


async def is_working(children: list[Child]) -> bool:
    return all(child.told for child in children)


async def test_processes_killed_at_any_moment_lose_nothing_and_take_effect_once(
    broker: PostgresBroker, spawn: Spawn
) -> None:
    chance = random.Random(7)
    async with broker.database.transaction() as tx:
        await tx.execute(EFFECTS)
    publishers, members = [spawn("publish")], [spawn("effect") for _ in range(2)]
    everyone = [*publishers]
    for _ in range(5):
        await until(lambda: is_working([*publishers, *members]))
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        publishers.pop().kill()
        publishers.append(spawn("publish"))
        everyone += publishers
        members.pop(chance.randrange(len(members))).kill()
        members.append(spawn("effect"))
    await until(lambda: is_working(publishers))
    publishers[0].kill()

    async def is_read() -> bool:
        return sum(lag.messages for lag in await broker.lag(GROUP)) == 0

    await until(is_read)
    confirmed = {id for child in everyone for id in child.confirmed()}
    effects = Counter(await broker.database.fetch("select id from effects", row=str))
    assert len(confirmed) > 100
    assert confirmed <= effects.keys(), "what was confirmed was lost"
    assert set(effects.values()) == {1}, "something took effect twice"
    answers = await broker.browse(ANSWERS, SeekTo.START, 1_000_000)
    assert Counter(each.message.id for each in answers) == effects
    (held,) = [state.messages for state in await broker.topics() if state.name == TOPIC]
    assert held == len(effects), "a position was left empty"
