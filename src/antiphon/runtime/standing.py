"""How far is a group behind, and how much was given up: asked now and then, for those who watch from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from antiphon.brokers.ports import Broker
from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock
from antiphon.observability.repeats import RepeatLimit
from antiphon.runtime.instruments import ConsumerInstruments
from antiphon.storage.database import Database
from antiphon.storage.set_aside import counts

log = logging.getLogger("antiphon.runtime")

EVERY = timedelta(seconds=10)


class Standing:
    """Keeps the gauges of lag and dead letters. They speak of the whole group: every process of it says the same."""

    def __init__(
        self, group: str, broker: Broker, store: Database, clock: Clock, instruments: ConsumerInstruments
    ) -> None:
        self._group, self._broker, self._store = group, broker, store
        self._clock, self._instruments = clock, instruments
        self._repeats = RepeatLimit(monotonic=clock.monotonic)
        self.is_told: Callable[[BaseException], bool] = lambda error: False
        """As `Surroundings.is_told`."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="antiphon lag")

    async def stop(self) -> None:
        """Twice is safe."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self.measure()
            except Exception as error:
                if not self.is_told(error) and self._repeats.admit(type(error).__name__) is not None:
                    known = isinstance(error, AntiphonError)
                    log.warning("the lag could not be measured: %s", error, exc_info=None if known else error)
            await self._clock.sleep(EVERY)

    async def measure(self) -> None:
        """Set the gauges once."""
        lags = await self._broker.lag(self._group)
        for topic in {lag.partition.topic for lag in lags}:
            of_topic = [lag for lag in lags if lag.partition.topic == topic]
            age = max(lag.age for lag in of_topic)
            self._instruments.behind(topic, sum(lag.messages for lag in of_topic), age)
        self._instruments.set_aside(await counts(self._store, self._group))
