"""What the log in a file keeps of what it confirmed, while the processes that use it are killed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import SeekTo
from tests.integration.embedded.member import GROUP, TOPIC
from tests.integration.embedded.messages import a_batch, ids
from tests.integration.embedded.processes import Child
from tests.torture import Tally, scenario

_ALL = 10_000_000


@scenario
async def embedded_log_keeps_what_it_confirmed(rounds: int, folder: Path) -> Tally:
    """A publisher is killed at a random moment of each round. A batch half in the log counts as lost."""
    path = folder / "log.db"
    confirmed: list[list[str]] = []
    for _ in range(rounds):
        publisher = Child("publish", path)
        await asyncio.to_thread(publisher.wait_until_told, "confirmed")
        await asyncio.sleep(random.uniform(0, 0.05))
        publisher.kill()
        confirmed += [each["confirmed"] for each in publisher.told]
    held = Counter(await _read_all(path))
    lost = sum(1 for batch in confirmed for id in batch if id not in held)
    return Tally(lost, sum(count - 1 for count in held.values()))


@scenario
async def embedded_watermark_moves_with_the_effects(rounds: int, folder: Path) -> Tally:
    """Of two members that write a row a message, one is killed in each round and another joins."""
    broker = EmbeddedBroker(folder / "log.db")
    await broker.open()
    async with broker.database.transaction() as tx:
        await tx.execute("create table effects (id text)")
    sent: list[str] = []
    members = [Child("effect", folder / "log.db") for _ in range(2)]
    for _ in range(rounds):
        members.append(Child("effect", folder / "log.db"))
        for _ in range(10):
            batch = a_batch(TOPIC, 40)
            await broker.publish(batch)
            sent += [message.id for _, message in batch]
            await asyncio.sleep(random.uniform(0, 0.02))
        members.pop(0).kill()
    effects = Counter(await _effects_of(broker))
    for member in members:
        member.kill()
    await broker.close()
    return Tally(sum(1 for id in sent if id not in effects), sum(count - 1 for count in effects.values()))


async def _read_all(path: Path) -> list[str]:
    broker = EmbeddedBroker(path)
    await broker.open()
    held = ids(await broker.browse(TOPIC, SeekTo.START, _ALL))
    await broker.close()
    return held


async def _effects_of(broker: EmbeddedBroker) -> list[str]:
    """The rows, once the group has read everything; or what there is when that takes too long."""
    for _ in range(600):
        if not sum(lag.messages for lag in await broker.lag(GROUP)):
            break
        await asyncio.sleep(0.05)
    return await broker.database.fetch("select id from effects", row=str)
