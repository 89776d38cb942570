"""Whether the embedded log keeps what it confirmed, and effects happen once, however often processes are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from tests.torture import Tally, scenario
from tests.torture.killing import kill_within, victim
from tests.torture.victims import BATCH, OrderPlaced, till

SOON = timedelta(milliseconds=100)
ORDERS_A_ROUND = 3_000
PATIENCE = timedelta(seconds=60)


@scenario
def killed_publishers_lose_nothing_confirmed(rounds: int, folder: Path) -> Tally:
    """Each round a publisher is killed between its writes; what it had confirmed must be in the log, once."""
    url, confirmed = f"embedded:///{folder / 'log.db'}", set[str]()
    first = 0
    for _ in range(rounds):
        with victim("publish", url, str(first)) as publisher:
            assert publisher.stdout is not None
            last = int(publisher.stdout.readline())
            printed = kill_within(publisher, SOON).rpartition("\n")[0].split()
        last = int(printed[-1]) if printed else last
        confirmed |= {f"order-{number}" for number in range(first, last)}
        # What was under way may be held, though nobody was told: its numbers are not used again.
        first = last + BATCH
    return tally(confirmed, asyncio.run(_keys_in(url)))


@scenario
async def killed_handlers_have_their_effects_once(rounds: int, folder: Path) -> Tally:
    """Two processes handle a growing log; each round one of them is killed. Each order has one row and one event."""
    url = f"embedded:///{folder / 'log.db'}"
    broker = EmbeddedBroker(folder / "log.db")
    await till.start(broker)
    with ExitStack() as stack:
        handlers = [stack.enter_context(victim("handle", url)) for _ in range(2)]
        for number in range(rounds):
            first = number * ORDERS_A_ROUND
            await till.publish_all([OrderPlaced(f"order-{n}") for n in range(first, first + ORDERS_A_ROUND)])
            await _until_left(broker, ORDERS_A_ROUND - 1)
            await asyncio.to_thread(kill_within, handlers.pop(0), SOON)
            handlers.append(stack.enter_context(victim("handle", url)))
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


async def _keys_in(url: str) -> Counter[str]:
    broker = EmbeddedBroker(url.removeprefix("embedded:///"))
    await broker.open()
    keys = await _keys(broker, "orders")
    await broker.close()
    return keys


async def _keys(broker: EmbeddedBroker, topic: str) -> Counter[str]:
    """How often each key is in the topic."""
    keys, places = Counter[str](), dict[int, str]()
    while deliveries := await broker.browse(topic, places, 10_000):
        keys.update(delivery.message.key or "" for delivery in deliveries)
        places.update({delivery.partition.number: delivery.position for delivery in deliveries})
    return keys


def tally(wanted: Iterable[str], found: Counter[str]) -> Tally:
    """What is wanted and was not found, and what was found again."""
    return Tally(lost=sum(not found[key] for key in wanted), double=sum(number - 1 for number in found.values()))
