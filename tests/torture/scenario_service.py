"""Whether a service's rows and events happen once, however often the processes that handle are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from tests.torture import Tally, scenario, tally
from tests.torture.killing import kill_within, victim
from tests.torture.victims import OrderPlaced, till

SOON = timedelta(milliseconds=100)
ORDERS_A_ROUND = 1_500
PATIENCE = timedelta(seconds=60)


@scenario
async def service_has_its_effects_once(rounds: int, folder: Path) -> Tally:
    """Two processes handle a growing log; each round one of them is killed. Each order has one row and one event."""
    url = f"embedded:///{folder / 'log.db'}"
    broker = EmbeddedBroker(folder / "log.db")
    await till.start(broker)
    with ExitStack() as stack:
        handlers = [stack.enter_context(victim(url)) for _ in range(2)]
        for number in range(rounds):
            first = number * ORDERS_A_ROUND
            await till.publish_all([OrderPlaced(f"order-{n}") for n in range(first, first + ORDERS_A_ROUND)])
            await _until_left(broker, ORDERS_A_ROUND - 1)
            await asyncio.to_thread(kill_within, handlers.pop(0), SOON)
            handlers.append(stack.enter_context(victim(url)))
        await _until_left(broker, 0)
    wanted = [f"order-{number}" for number in range(rounds * ORDERS_A_ROUND)]
    rows = Counter(await broker.database.fetch("select order_id from ledger", row=str))
    events = await _keys(broker, "payments")
    await till.stop()
    await broker.close()
    return Tally(*map(sum, zip(tally(wanted, rows), tally(wanted, events), strict=True)))


async def _until_left(broker: EmbeddedBroker, most: int) -> None:
    """Return when at most so many orders wait for the handlers."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while (left := await _left(broker)) is None or left > most:
            # Only another process knows better, and it cannot set an event here.
            await asyncio.sleep(0.005)


async def _left(broker: EmbeddedBroker) -> int | None:
    lags = await broker.lag("payments")
    return sum(lag.messages for lag in lags) if lags else None


async def _keys(broker: EmbeddedBroker, topic: str) -> Counter[str]:
    """How often each key is in the topic."""
    keys, places = Counter[str](), dict[int, str]()
    while deliveries := await broker.browse(topic, places, 10_000):
        keys.update(delivery.message.key or "" for delivery in deliveries)
        places.update({delivery.partition.number: delivery.position for delivery in deliveries})
    return keys
