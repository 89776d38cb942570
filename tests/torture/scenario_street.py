"""Whether effects happen once, events keep their ids and failures are parked once, in every way of handling."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import Delivery
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.storage.dead_letters import list_parked
from antiphon.testing import VirtualClock
from tests.torture import Tally, scenario, tally
from tests.torture.killing import Victim, kill_within, victim
from tests.torture.street import EVERY, ONCE, OrderPlaced, fails

SOON = timedelta(milliseconds=300)
ORDERS_A_ROUND = 250
PATIENCE = timedelta(seconds=60)


@scenario
async def every_way_of_handling_has_its_effects_once(rounds: int, folder: Path) -> Tally:
    """Two processes with seven services each; one is killed in each round. Orders come twice now and then."""
    found = await walk(rounds, folder)
    return Tally(
        sum(each.lost for each in found.values()), sum(found[name].double for name in found if name != "apart")
    )


async def walk(rounds: int, folder: Path, *options: str) -> dict[str, Tally]:
    """Let orders flow while processes are killed; the tally of each service, and of what was emitted and parked."""
    broker = EmbeddedBroker(folder / "log.db")
    await broker.open()
    orders = [f"order-{number}" for number in range(rounds * ORDERS_A_ROUND)]
    with ExitStack() as stack:

        def begin_another() -> None:
            members.append(stack.enter_context(victim(broker.url, *options, module="tests.torture.street")))

        members: list[Victim] = []
        begin_another()
        begin_another()
        for start in range(0, len(orders), ORDERS_A_ROUND):
            await broker.publish(_messages(orders[start : start + ORDERS_A_ROUND]))
            await _until_left(broker, len(EVERY) * ORDERS_A_ROUND - 1)
            await asyncio.to_thread(kill_within, members.pop(0), SOON)
            begin_another()
        await _until_left(broker, 0)
    found = await _found(broker, orders)
    await broker.close()
    return found


def _messages(orders: Iterable[str]) -> list[Outgoing]:
    """Each once, and about every hundredth again at the end."""
    composer = Composer("till", VirtualClock())
    messages = [composer.first(OrderPlaced(order)) for order in orders]
    return [*messages, *messages[::99]]


async def _until_left(broker: EmbeddedBroker, most: int) -> None:
    """Return when at most so many messages wait for the services."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while (left := await _left(broker)) is None or left > most:
            # Only another process knows better, and it cannot set an event here.
            await asyncio.sleep(0.005)


async def _left(broker: EmbeddedBroker) -> int | None:
    lags = [await broker.lag(name) for name in EVERY]
    return sum(lag.messages for each in lags for lag in each) if all(lags) else None


async def _found(broker: EmbeddedBroker, orders: list[str]) -> dict[str, Tally]:
    entries: dict[str, Counter[str]] = defaultdict(Counter)
    for service, order in await broker.database.fetch("select service, order_id from entries", row=tuple[str, str]):
        entries[service][order] += 1
    good = [order for order in orders if not fails(order)]
    found = {name: tally(good if name == "parking" else orders, entries[name]) for name in (*ONCE, "apart")}
    parked = await list_parked(broker.database, limit=len(orders) * 2)
    bad = [order for order in orders if fails(order)]
    found["parked"] = tally(bad, Counter(letter.message.key or "" for letter in parked))
    found["payments"] = tally(orders, Counter(each.message.key or "" for each in await _read(broker, "payments")))
    # Mails may be sent again, but only under the same id, so that whoever reads them can tell.
    mails = {each.message.id: each.message.key or "" for each in await _read(broker, "mails")}
    found["mails"] = tally(orders, Counter(mails.values()))
    return found


async def _read(broker: EmbeddedBroker, topic: str) -> list[Delivery]:
    """All that the topic holds."""
    read: list[Delivery] = []
    places: dict[int, str] = {}
    while deliveries := await broker.browse(topic, places, 10_000):
        read += deliveries
        places.update({delivery.partition.number: delivery.position for delivery in deliveries})
    return read
