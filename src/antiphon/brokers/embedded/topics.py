"""Which topics does the log have, and under which numbers are their partitions kept?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from antiphon.brokers.ports import Partition, TopicSpec, TopicState
from antiphon.errors import UnknownTopicError, UnsupportedCapabilityError, UsageError
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteDatabase, SqliteTransaction

_SQL = load_queries("antiphon.brokers.embedded", "sql/topics.sql")
_MICROSECOND = timedelta(microseconds=1)


class Topics:
    """The topics of one log. What is known is kept, since topics are never removed and never repartitioned."""

    def __init__(self, database: SqliteDatabase, url: str) -> None:
        self._database, self._url = database, url
        self._ids: dict[str, tuple[int, ...]] = {}
        self._partitions: dict[int, Partition] = {}

    def ids_of(self, topic: str) -> tuple[int, ...]:
        """The ids of a topic's partitions, by number. Raises UnknownTopicError."""
        ids = self._ids.get(topic) or self._learn(topic, self._database.read(_SQL["partitions_of"], (topic,)))
        if not ids:
            raise UnknownTopicError(topic, [state.name for state in self.states()])
        return ids

    def partition(self, partition_id: int) -> Partition:
        """The name of a partition that exists."""
        found = self._partitions.get(partition_id)
        if found is None:
            for name, number, known_id in cast(
                "list[tuple[str, int, int]]", self._database.read(_SQL["all_partitions"])
            ):
                self._partitions[known_id] = Partition(name, number)
            found = self._partitions[partition_id]
        return found

    def id_of(self, partition: Partition) -> int:
        """Raises UnknownTopicError when there is no such topic or no such partition of it."""
        ids = self.ids_of(partition.topic)
        if not 0 <= partition.number < len(ids):
            raise UnknownTopicError(f"{partition.topic}/{partition.number}")
        return ids[partition.number]

    def ids_in(self, tx: SqliteTransaction, topic: str) -> list[int]:
        """As `ids_of`, for a topic that `tx` may just have made."""
        return [
            partition_id for _, partition_id in cast("list[tuple[int, int]]", tx.query(_SQL["partitions_of"], (topic,)))
        ]

    def make_missing(self, tx: SqliteTransaction, names: Sequence[str]) -> None:
        """Make the unknown ones of these with the defaults."""
        for name in names:
            if name not in self._ids and not tx.query(_SQL["partitions_of"], (name,)):
                self._make(tx, TopicSpec(name))

    def ensure(self, tx: SqliteTransaction, spec: TopicSpec) -> None:
        """Make the topic, or change its retention. Raises UnsupportedCapabilityError when the partitions differ."""
        held = len(tx.query(_SQL["partitions_of"], (spec.name,)))
        if not held:
            self._make(tx, spec)
        elif held != spec.partitions:
            raise UnsupportedCapabilityError(
                self._url,
                "change of the number of partitions",
                f"topic {spec.name!r} has {held}, {spec.partitions} were asked for, and keys would change their "
                "places: make a topic with another name and move to it",
            )
        else:
            tx.send(_SQL["change_retention"], (spec.name, *_retention(spec)))

    def states(self) -> list[TopicState]:
        rows = cast("list[tuple[str, int, int, int, int | None, int | None]]", self._database.read(_SQL["states"]))
        return [
            TopicState(name, partitions, messages, size, _duration(keep_for), keep_bytes)
            for name, partitions, messages, size, keep_for, keep_bytes in rows
        ]

    def _make(self, tx: SqliteTransaction, spec: TopicSpec) -> None:
        if spec.partitions < 1:
            raise UsageError(f"topic {spec.name!r} cannot have {spec.partitions} partitions: it needs one at least")
        ((topic_id,),) = tx.query(_SQL["make_topic"], (spec.name, *_retention(spec)))
        tx.send_many(_SQL["make_partition"], [(topic_id, number) for number in range(spec.partitions)])

    def _learn(self, topic: str, rows: Sequence[tuple[object, ...]]) -> tuple[int, ...]:
        known = cast("Sequence[tuple[int, int]]", rows)
        ids = tuple(partition_id for _, partition_id in known)
        if ids:
            self._ids[topic] = ids
            self._partitions.update({partition_id: Partition(topic, number) for number, partition_id in known})
        return ids


def _retention(spec: TopicSpec) -> tuple[int | None, int | None]:
    return (None if spec.keep_for is None else spec.keep_for // _MICROSECOND, spec.keep_bytes)


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
