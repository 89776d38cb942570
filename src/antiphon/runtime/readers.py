"""Does anybody read this topic now? Asked when a reply did not come, by many at once, with one look for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from antiphon.brokers.ports import Broker
from antiphon.brokers.reply_topics import PREFIX
from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock

LONGEST_LOOK = 2.0
"""Seconds after which a broker that does not say it is taken for one that cannot."""
_SIDE_BY_SIDE = 8
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
        # Those of askers read nothing but replies.
        groups = [group for group in await self._broker.groups() if not group.startswith(PREFIX)]
        for start in range(0, len(groups), _SIDE_BY_SIDE):
            some = groups[start : start + _SIDE_BY_SIDE]
            reading = await asyncio.gather(*(self._reads(group, topic) for group in some))
            if found := [group for group, reads in zip(some, reading, strict=True) if reads]:
                return found
        return ()

    async def _reads(self, group: str, topic: str) -> bool:
        return any(lag.partition.topic == topic and lag.owner is not None for lag in await self._broker.lag(group))
