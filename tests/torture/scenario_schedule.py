"""Whether what is scheduled is published once, however often the processes that publish it are killed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.storage.schedule import count_scheduled, schedule
from tests.torture import Tally, scenario, tally
from tests.torture.killing import kill_within, victim

SOON = timedelta(milliseconds=300)
MESSAGES_A_ROUND = 1_000
MOMENTS = 10
PATIENCE = timedelta(seconds=60)
TOPIC = "reminders"


@scenario
async def what_is_scheduled_is_published_once(rounds: int, folder: Path) -> Tally:
    """Two processes publish what becomes due; each round one of them is killed. Each message is there once."""
    log = folder / "log.db"
    broker = EmbeddedBroker(log)
    await broker.open()
    wanted = list[str]()
    with ExitStack() as stack:
        runners = [stack.enter_context(victim("together", str(log), module="tests.torture.due")) for _ in range(2)]
        for _ in range(rounds):
            wanted += await _schedule(broker, SystemClock().now())
            await _until_left(broker, MESSAGES_A_ROUND - 1)
            await asyncio.to_thread(kill_within, runners.pop(0), SOON)
            runners.append(stack.enter_context(victim("together", str(log), module="tests.torture.due")))
        await _until_left(broker, 0)
    found = Counter[str]()
    places = dict[int, str]()
    while deliveries := await broker.browse(TOPIC, places, 10_000):
        found.update(delivery.message.id for delivery in deliveries)
        places.update({delivery.partition.number: delivery.position for delivery in deliveries})
    await broker.close()
    return tally(wanted, found)


async def _schedule(broker: EmbeddedBroker, now: datetime) -> list[str]:
    """Schedule some for now and some for moments soon; returns their ids."""
    made = [Message(new_id(), "Reminded", now, b"{}", f"key-{n % 50}", "torture") for n in range(MESSAGES_A_ROUND)]
    async with broker.database.transaction() as tx:
        for first in range(MOMENTS):
            outgoing = [Outgoing(TOPIC, message) for message in made[first::MOMENTS]]
            await schedule(tx, outgoing, now + SOON * random.uniform(0, 1))
    return [message.id for message in made]


async def _until_left(broker: EmbeddedBroker, most: int) -> None:
    """Return when at most so many wait for their moment, or to be published."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while await count_scheduled(broker.database) > most:
            # Only another process knows better, and it cannot set an event here.
            await asyncio.sleep(0.01)
