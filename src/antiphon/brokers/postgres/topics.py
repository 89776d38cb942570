"""Which topics does the log have, and under which numbers are their partitions kept?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from antiphon.brokers.ports import Partition, TopicSpec, TopicState
from antiphon.brokers.postgres.arrays import numbers, texts
from antiphon.brokers.postgres.log import Log
from antiphon.errors import UnknownTopicError, UnsupportedCapabilityError, UsageError
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.brokers.postgres", "sql/topics.sql")
_MICROSECOND = timedelta(microseconds=1)


class Topics:
    """The topics of one log. What is known is kept, since topics are never removed and never repartitioned."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._ids: dict[str, tuple[int, ...]] = {}
        self._partitions: dict[int, Partition] = {}

    def forget(self) -> None:
        """Know nothing any more, as when the log turned out to be another one."""
        self._ids.clear()
        self._partitions.clear()

    async def learn(self, names: Iterable[str]) -> list[str]:
        """Know these from now on; returns those that do not exist, each once, in order."""
        unknown = sorted({name for name in names if name not in self._ids})
        if not unknown:
            return []
        rows = await self._log.database.fetch(_SQL["partitions_of"], texts(unknown), row=tuple[str, int, int])
        found: dict[str, list[int]] = {}
        for name, number, partition_id in rows:
            found.setdefault(name, []).append(partition_id)
            self._partitions[partition_id] = Partition(name, number)
        self._ids.update({name: tuple(ids) for name, ids in found.items()})
        return [name for name in unknown if name not in found]

    async def make_missing(self, names: Iterable[str]) -> None:
        """Know these from now on; the unknown ones are made with the defaults, at once."""
        missing = await self.learn(names)
        if missing:
            async with self._log.transaction() as tx:
                await tx.execute_many(_SQL["make"], [_making(TopicSpec(name)) for name in missing])
            await self.learn(missing)

    async def require(self, name: str) -> None:
        """Know it from now on. Raises UnknownTopicError."""
        if await self.learn([name]):
            raise UnknownTopicError(name, await self._log.database.fetch(_SQL["names"], row=str))

    async def learn_partitions(self, ids: Iterable[int]) -> None:
        """Know the names of these partitions, which exist."""
        if unknown := [each for each in ids if each not in self._partitions]:
            await self.learn(await self._log.database.fetch(_SQL["topics_of"], numbers(unknown), row=str))

    def ids_of(self, topic: str) -> tuple[int, ...]:
        """The ids of a known topic's partitions, by number. Raises UnknownTopicError."""
        ids = self._ids.get(topic)
        if ids is None:
            raise UnknownTopicError(topic, [*self._ids])
        return ids

    def partition(self, partition_id: int) -> Partition:
        """The name of a known partition."""
        return self._partitions[partition_id]

    def id_of(self, partition: Partition) -> int:
        """As `Names.id_of`, of a known topic."""
        ids = self.ids_of(partition.topic)
        if not 0 <= partition.number < len(ids):
            raise UnknownTopicError(f"{partition.topic}/{partition.number}")
        return ids[partition.number]

    async def ensure(self, spec: TopicSpec) -> None:
        """Make the topic, or change its retention. Raises UnsupportedCapabilityError when the partitions differ."""
        if spec.partitions < 1:
            raise UsageError(f"topic {spec.name!r} cannot have {spec.partitions} partitions: it needs one at least")
        if await self.learn([spec.name]):
            async with self._log.transaction() as tx:
                await tx.execute(_SQL["make"], *_making(spec))
            await self.learn([spec.name])
        held = len(self.ids_of(spec.name))
        if held != spec.partitions:
            raise UnsupportedCapabilityError(
                self._log.database.url,
                "change of the number of partitions",
                f"topic {spec.name!r} has {held}, {spec.partitions} were asked for, and keys would change their "
                "places: make a topic with another name and move to it",
            )
        async with self._log.transaction() as tx:
            await tx.execute(_SQL["change_retention"], spec.name, *_retention(spec))

    async def states(self) -> list[TopicState]:
        """How all topics are."""
        rows = await self._log.database.fetch(_SQL["states"], row=tuple[str, int, int, int, int | None, int | None])
        return [
            TopicState(name, partitions, messages, size, _duration(keep_for), keep_bytes)
            for name, partitions, messages, size, keep_for, keep_bytes in rows
        ]


def _making(spec: TopicSpec) -> tuple[str, int, int | None, int | None]:
    return (spec.name, spec.partitions, *_retention(spec))


def _retention(spec: TopicSpec) -> tuple[int | None, int | None]:
    return (None if spec.keep_for is None else spec.keep_for // _MICROSECOND, spec.keep_bytes)


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
