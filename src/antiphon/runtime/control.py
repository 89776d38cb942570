"""How an operator's pauses reach every process of a group: they are kept in the store, and each one looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta

from antiphon.errors import StoreError, UsageError
from antiphon.runtime.surroundings import Surroundings, is_passing
from antiphon.storage.topic_pauses import TopicPause, list_topic_pauses, pause_topics, resume_topics

EVERY = timedelta(seconds=1)


class Control:
    """Brings the gates of one consumer in line with what operators want, and tells them when these change."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        # Nobody else can reach the store of a broker that lives in this process.
        self._is_shared = surroundings.broker.capabilities.durable
        self._told: object = None
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Look again and again, until canceled."""
        while True:
            await self._surroundings.clock.sleep(EVERY if self._is_shared else timedelta(minutes=1))
            try:
                await self.look()
                await self._tell()
            except StoreError as error:
                if not is_passing(error):
                    raise
                self._surroundings.waits("whether topics are paused is not known for now", error)

    async def look(self) -> None:
        """Pause and resume what operators paused and resumed since."""
        async with self._looking:  # an older answer must not undo what a newer one did
            surroundings = self._surroundings
            wanted = {each.topic: each for each in await list_topic_pauses(surroundings.store, surroundings.group)}
            self._follow(wanted)

    def _follow(self, wanted: Mapping[str, TopicPause]) -> None:
        surroundings = self._surroundings
        for gate in surroundings.gates.all():
            pause = wanted.get(gate.topic)
            if pause is not None and gate.paused != (why := f"{pause.reason} ({pause.paused_by})"):
                surroundings.gates.pause(gate.topic, why)
                surroundings.instruments.topic_paused(gate.topic, True)
            elif pause is None and gate.paused is not None:
                surroundings.gates.resume(gate.topic)
                surroundings.instruments.topic_paused(gate.topic, False)

    async def _tell(self) -> None:
        """Say how this run is when its topics changed; the numbers can wait."""
        status = self._surroundings.status()
        now = status.get("state"), status.get("topics")
        if self._is_shared and now != self._told:
            self._told = now
            await self._surroundings.suspicion.say()

    async def pause(self, topics: Iterable[str], reason: str, by: str) -> None:
        """Pause these for the whole group. Raises UsageError for a topic that this service does not read."""
        surroundings = self._surroundings
        now = surroundings.clock.now()
        pauses = [TopicPause(surroundings.group, self._known(topic), reason, by, now) for topic in topics]
        async with surroundings.store.transaction() as tx:
            await pause_topics(tx, pauses)
        await self.look()

    async def resume(self, topics: Iterable[str]) -> None:
        """Let these go on, for the whole group. Twice is safe. Raises UsageError as `pause`."""
        known = [self._known(topic) for topic in topics]
        async with self._surroundings.store.transaction() as tx:
            await resume_topics(tx, self._surroundings.group, known)
        await self.look()

    def _known(self, topic: str) -> str:
        topics = [gate.topic for gate in self._surroundings.gates.all()]
        if topic not in topics:
            service = self._surroundings.service
            raise UsageError(f"service {service!r} does not read {topic!r}; it reads {', '.join(sorted(topics))}")
        return topic
