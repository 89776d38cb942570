"""Whether retries, parking and redrives lose nothing, double nothing and keep order, however often they are killed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from math import inf
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.deadletters.redrive import Pace, start_redrive
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.suspicion import CRASH
from antiphon.schemas.codec import codec_for
from antiphon.storage.dead_letters import find
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState, counts
from antiphon.testing import VirtualClock
from tests.torture import Tally, scenario, tally
from tests.torture.killing import Victim, kill_within, victim
from tests.torture.trouble import EVERY, ONCE, STEPS, OrderTaken, is_deadly

SOON = timedelta(milliseconds=400)
ORDERS_A_ROUND = 60
PATIENCE = timedelta(seconds=120)
Entries = dict[str, list[tuple[str, int]]]
_TAKEN = codec_for(OrderTaken)
_ALL = 100_000


@scenario
async def retries_parking_and_redrives_lose_nothing(rounds: int, folder: Path) -> Tally:
    """Two processes with three services each; one is killed in each round, the second half of them in redrives.

    In the first half some die of deadly messages, too: each is parked for it, once, and no other message is.
    """
    broker = EmbeddedBroker(folder / "log.db")
    await broker.open()
    with ExitStack() as stack:
        street = Street(broker, stack)
        half = max(rounds // 2, 1)
        orders = [order for number in range(half) for order in _orders(number)]
        for number in range(half):
            await broker.publish(_messages(number))
            await street.kill_one()
        await street.until_worked_off(parked=True)
        deaths = _judge_deaths(await _parked_for_deaths(broker), orders)
        await _mend(broker)
        for _ in range(rounds - half):
            await _redrive_some(broker)
            await street.kill_one()
        await _until_redriven(broker)
        await street.until_worked_off(parked=False)
    found = await _entries(broker)
    await broker.close()
    return Tally(*map(sum, zip(deaths, _judge(found, orders), strict=True)))


class Street:
    """The processes, of which one is killed now and then and another one begun; and for each that dies by itself."""

    def __init__(self, broker: EmbeddedBroker, stack: ExitStack) -> None:
        self._broker, self._stack = broker, stack
        self._members: list[Victim] = [self._begin(), self._begin()]

    async def kill_one(self) -> None:
        """Kill the older one at some moment soon, and begin another one."""
        await asyncio.to_thread(kill_within, self._members.pop(0), SOON)
        self._members.append(self._begin())
        self._revive()

    async def until_worked_off(self, *, parked: bool) -> None:
        """Return when nothing is unread or delayed; with `parked` only what is parked, and behind that, is left.

        However much that is; but it fails when for long nothing becomes less.
        """
        least = await _left(self._broker, parked=parked)
        async with asyncio.timeout(PATIENCE.total_seconds()) as patience:
            while least > 0:
                self._revive()
                # Only another process knows better, and it cannot set an event here.
                await asyncio.sleep(0.02)
                left = await _left(self._broker, parked=parked)
                if left < least:
                    least = left
                    patience.reschedule(asyncio.get_running_loop().time() + PATIENCE.total_seconds())

    def _revive(self) -> None:
        self._members = [member if member.poll() is None else self._begin() for member in self._members]

    def _begin(self) -> Victim:
        return self._stack.enter_context(victim(self._broker.url, module="tests.torture.trouble"))


def _orders(number: int) -> list[str]:
    return [f"order-{number * ORDERS_A_ROUND + index}" for index in range(ORDERS_A_ROUND)]


def _messages(number: int) -> list[Outgoing]:
    """The steps of some orders, each step of all of them before the next one; a few come twice."""
    composer = Composer("till", VirtualClock())
    made = [composer.first(OrderTaken(order, step)) for step in range(STEPS) for order in _orders(number)]
    return [*made, *made[-ORDERS_A_ROUND::17]]


async def _mend(broker: EmbeddedBroker) -> None:
    async with broker.database.transaction() as tx:
        await tx.execute("insert into mended (at) values (1)")


async def _redrive_some(broker: EmbeddedBroker) -> None:
    letters = await find(broker.database, LetterQuery(), limit=20)
    free = [letter.number for letter in letters if letter.redrive is None]
    if free:
        await start_redrive(broker.database, SystemClock(), free, Pace(spacing=timedelta(milliseconds=5)), "torture")


async def _until_redriven(broker: EmbeddedBroker) -> None:
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while await find(broker.database, LetterQuery(), limit=1):
            await _redrive_some(broker)
            await asyncio.sleep(0.1)


async def _left(broker: EmbeddedBroker, *, parked: bool) -> float:
    """How many are left to be worked off; without end while a group has not begun."""
    total = 0.0
    for group in EVERY:
        lags, aside = await broker.lag(group), await counts(broker.database, group)
        total += aside[AsideState.DELAYED] + (0 if parked else aside[AsideState.PARKED] + aside[AsideState.BEHIND])
        total += sum(lag.messages for lag in lags) if lags else inf
    return total


async def _parked_for_deaths(broker: EmbeddedBroker) -> Counter[str]:
    """How often each message is parked since processes died of it."""
    letters = [each.letter for each in await find(broker.database, LetterQuery(reason=CRASH), limit=_ALL)]
    orders = [(each.group, _TAKEN.read(each.message)) for each in letters]
    return Counter(_named(group, order.order_id, order.step) for group, order in orders)


async def _entries(broker: EmbeddedBroker) -> Entries:
    found: Entries = defaultdict(list)
    rows = await broker.database.fetch(
        "select service, order_id, step from entries order by number", row=tuple[str, str, int]
    )
    for service, order, step in rows:
        found[service].append((order, step))
    return found


def _judge_deaths(parked: Counter[str], orders: Iterable[str]) -> Tally:
    """Each deadly step is parked once in the service that dies of it; no other one is blamed."""
    steps = [(name, order, step) for name in EVERY for order in orders for step in range(STEPS)]
    deadly = [_named(name, order, step) for name, order, step in steps if is_deadly(order, step, name)]
    blamed = sorted(parked.keys() - set(deadly))
    assert not blamed, f"parked for deaths that were not theirs: {', '.join(blamed)}"
    return tally(deadly, parked)


def _named(service: str, order: str, step: int) -> str:
    return f"{service}/{order}/{step}"


def _judge(found: Entries, orders: Iterable[str]) -> Tally:
    """Every step of every order in every service; once, and in order, where there is a transaction."""
    wanted = [f"{order}/{step}" for order in orders for step in range(STEPS)]
    tallies = {name: tally(wanted, Counter(f"{order}/{step}" for order, step in found[name])) for name in EVERY}
    misplaced = sum(_misplaced(found[name]) for name in ONCE)
    assert misplaced == 0, f"{misplaced} steps were handled before one that comes before them"
    return Tally(sum(each.lost for each in tallies.values()), sum(tallies[name].double for name in ONCE))


def _misplaced(entries: Iterable[tuple[str, int]]) -> int:
    last: dict[str, int] = {}
    count = 0
    for order, step in entries:
        count += step < last.get(order, -1)
        last[order] = step
    return count
