"""What do all simulated processes live in? One broker with its store, one time, one chance, and troubles."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any, Literal

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Partition, TopicSpec
from antiphon.events.message import Outgoing
from antiphon.storage.database import Database, Migration
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.simulation.loop import START, SimulatedClock, at_once
from antiphon.testing.simulation.record import Record
from antiphon.testing.simulation.trace import Trace
from antiphon.testing.simulation.troubles import Trouble, Weather

Model = Literal["log", "queue", "log and store", "queue and store"]

_EFFECTS = Migration(
    1,
    "make_effects",
    "create table simulated_effects (place integer primary key, consumer_group text, identity text) strict;",
)
_HELD = """
select token, held_until from antiphon_set_aside
where consumer_group = ? and topic = ? and partition = ? and position = ? and token is not null
"""
_TOKENS = "select distinct token from antiphon_set_aside where token is not null"


class World:
    """What outlives the processes. Whatever they do with it is drawn from one seed."""

    def __init__(self, seed: int, model: Model, troubles: Collection[Trouble], loop: asyncio.AbstractEventLoop) -> None:
        self.seed, self.random = seed, Random(seed)
        self.clock = SimulatedClock(loop)
        self.is_apart = model in ("log and store", "queue and store")
        self.broker = MemoryBroker("log" if model in ("log", "log and store") else "queue", clock=self.clock)
        self.store: Database = SqliteDatabase(":memory:") if self.is_apart else self.broker.database
        """What holds the tables of all services."""
        self.keeps_order = self.broker.capabilities.key_order
        self.weather = Weather(self.random, troubles)
        self.ailing = self.weather.rate(Trouble.FAILURE)
        """How often messages fail; what ails one stays with it to the end."""
        self.trace, self.record = Trace(seed, self.clock), Record()
        self.paused: set[tuple[str, str]] = set()
        """Groups and topics that an operator paused."""
        self._until: dict[Trouble, float] = {}
        self._ended: dict[Trouble, float] = {}
        self._places = 0
        self.writing = 0
        """Transactions of the store that are open."""
        self._holders: dict[str, str] = {}
        """Processes, by the tokens under which they hold what was set aside."""

    async def open(self, topics: Sequence[TopicSpec], groups: Mapping[str, Sequence[str]]) -> None:
        """Open the broker, and make the topics, the groups that read them, and the table of effects."""
        await self.broker.open()
        await self.store.open()
        for topic in topics:
            await self.broker.ensure_topic(topic)
        for group, read in groups.items():
            await (await self.broker.subscribe(group, read)).close()
        await self.store.migrate("simulator", [_EFFECTS])

    async def close(self) -> None:
        """Close everything."""
        await self.broker.close()
        await self.broker.database.close()
        await self.store.close()

    @property
    def is_locked(self) -> bool:
        """Whether no lease can change hands now: those of a log are in the store that is its own."""
        return self.writing > 0 and not self.is_apart

    def begin(self, trouble: Trouble, duration: timedelta) -> None:
        """Let the broker, the store, or whatever handlers call be away for so long."""
        self._until[trouble] = self.clock.monotonic() + duration.total_seconds()
        self._ended[trouble] = max(self._until[trouble], self._ended.get(trouble, 0.0))

    def is_on(self, trouble: Trouble) -> bool:
        """Whether that is so now."""
        return self.clock.monotonic() < self._until.get(trouble, 0.0)

    def was_on(self, trouble: Trouble, since: float) -> bool:
        """Whether that was so at some time since then."""
        return self._ended.get(trouble, 0.0) > since

    def clear_up(self) -> None:
        """Let no trouble come any more."""
        self._until.clear()
        self.weather.end()

    def published(self, labeled: Sequence[Outgoing], by: str) -> None:
        """Note what the broker holds from now on."""
        entries = self.record.publish(labeled)
        self.trace.note(f"{by} published {', '.join(f'{each} of {each.message.key}' for each in entries)}")

    def learn(self, by: str) -> None:
        """Note which effects were committed just now, and by whose token something is held from now on."""
        for token in at_once(self.store.fetch(_TOKENS, row=str)):
            self._holders.setdefault(token, by)
        sql = "select place, consumer_group, identity from simulated_effects where place > ? order by place"
        for place, group, identity in at_once(self.store.fetch(sql, self._places, row=tuple[int, str, str])):
            self.record.effects[group, identity].append(place)
            self._places = place

    def held_until(self, holder: str, group: str, partition: Partition, position: str) -> float | None:
        """Until when this process holds what lies there and was set aside, in seconds; None: it does not."""
        found = at_once(self.store.fetch(_HELD, group, *partition, position, row=tuple[str, int]))
        held = [until for token, until in found if self._holders.get(token) == holder]
        return held[0] / 1_000_000 - START.timestamp() if held else None

    def owner_of(self, group: str, partition: Partition) -> str | None:
        """The member of a group that reads this partition."""
        lags = at_once(self.broker.lag(group))
        return next((lag.owner for lag in lags if lag.partition == partition), None)

    async def turns(self, count: int) -> None:
        """Let everybody go on a little, while no time passes."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def falter(self) -> None:
        """Take some time, or none, as calls do."""
        if self.weather.strikes(Trouble.DELAY, 0.3):
            if self.random.random() < 0.7:
                await self.turns(self.random.randint(1, 3))
            else:
                await asyncio.sleep(self.random.randint(1, 40) / 1000)


async def canceled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Return once these have ended, however often they must be canceled."""
    left = [task for task in tasks if not task.done()]
    for _ in range(100):
        for task in left:
            task.cancel()
        await asyncio.sleep(0)
        left = [task for task in left if not task.done()]
        if not left:
            return
    raise AssertionError(f"these do not end when they are canceled: {', '.join(map(repr, left))}")
