"""Does anybody read this topic now? Asked when a reply did not come, by many at once, with one look for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from antiphon.brokers.ports import Broker
from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock

LONGEST_LOOK = 1.0
"""Seconds after which a broker that does not say it is taken for one that cannot."""
_FRESH = 1.0
"""Seconds for which what was seen holds."""


class Readers:
    """Looks at a broker's groups, at most once a second for each topic."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker, self._clock = broker, clock
        self._looks: dict[str, tuple[float, asyncio.Task[Sequence[str] | None]]] = {}

    async def of(self, topic: str) -> Sequence[str] | None:
        """Groups with a member that reads `topic`; the first ones where many are. None where it could not be seen."""
        now = self._clock.monotonic()
        self._looks = {name: each for name, each in self._looks.items() if now - each[0] < _FRESH}
        if topic not in self._looks:
            self._looks[topic] = (now, asyncio.create_task(self._look(topic)))
        return await asyncio.shield(self._looks[topic][1])

    async def _look(self, topic: str) -> Sequence[str] | None:
        try:
            async with asyncio.timeout(LONGEST_LOOK):
                return await self._found(topic)
        except (AntiphonError, TimeoutError):
            return None

    async def _found(self, topic: str) -> Sequence[str]:
        broker = self._broker
        for group in await broker.groups():
            if any(lag.partition.topic == topic and lag.owner is not None for lag in await broker.lag(group)):
                return (group,)
        return ()
