"""How do messages get their places in the log?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import time_ns
from typing import Protocol, cast

from antiphon.brokers.embedded.topics import Topics
from antiphon.brokers.envelope import EPOCH, check_texts, microseconds, objection, pack_rest
from antiphon.brokers.placement import hash_of_key
from antiphon.brokers.places import OFFSET_BITS, OFFSET_MASK
from antiphon.brokers.screening import screen
from antiphon.errors import Refusal, StatementError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.storage.database import Row, SqlValue
from antiphon.storage.queries import load_queries
from antiphon.storage.sqlite import SqliteTransaction

_SQL = load_queries("antiphon.brokers.embedded", "sql/messages.sql")


class Query(Protocol):
    """Reads rows: inside a transaction, or beside all of them."""

    def __call__(self, sql: str, args: Sequence[SqlValue] = ...) -> list[Row]: ...


class _End:
    """Where a partition ends while a batch is appended to it."""

    __slots__ = ("added", "arrived", "first", "largest", "partition_id", "place")

    def __init__(self, partition_id: int, head: int, arrived: int) -> None:
        self.partition_id, self.arrived = partition_id, arrived
        self.first = self.place = partition_id << OFFSET_BITS | head
        self.added = self.largest = 0


class Batch:
    """Messages made ready outside of any transaction, each with its envelope, in order."""

    __slots__ = ("outgoing", "rests")

    def __init__(self, outgoing: Sequence[Outgoing]) -> None:
        self.outgoing = outgoing
        self.rests = [pack_rest(message) for _, message in outgoing]
        check_texts(outgoing)


class Appender:
    """Writes batches at the ends of their partitions, inside whichever transaction it is given."""

    def __init__(self, topics: Topics, clock: Clock, max_message_bytes: int) -> None:
        self._topics, self._clock, self._limit = topics, clock, max_message_bytes
        self._turn = time_ns() // 1000

    def prepare(self, outgoing: Sequence[Outgoing]) -> tuple[Batch, Sequence[Refusal]]:
        """What may be written, encoded before any lock is taken, and a refusal for each of the others."""
        limit = self._limit
        if all(message.data is None or len(message.data) <= limit for _, message in outgoing):
            try:
                return Batch(outgoing), ()
            except (TypeError, ValueError, OverflowError):
                pass  # one of them cannot be written; find out which
        accepted, refusals = screen(outgoing, lambda each: objection(each, limit))
        return Batch(accepted), refusals

    def append(self, tx: SqliteTransaction, batch: Batch) -> None:
        """Write the batch at the ends of its partitions. Unknown topics are made."""
        now = microseconds(self._clock.now())
        ends: dict[str, list[_End]] = {}
        rows: list[Sequence[SqlValue]] = []
        add = rows.append
        for (topic, message), rest in zip(batch.outgoing, batch.rests, strict=True):
            lanes = ends.get(topic) or ends.setdefault(topic, self._ends(tx, topic, now))
            key, data = message.key, message.data
            end = lanes[(self._next_turn() if key is None else hash_of_key(key)) % len(lanes)]
            end.place += 1
            if data is not None:
                size = len(data)
                end.added += size
                end.largest = max(end.largest, size)
            add((end.place, message.id, message.type, key, end.arrived, data, rest))
        touched = [end for lanes in ends.values() for end in lanes if end.place != end.first]
        try:
            tx.send_many(_SQL["append"], rows)
        except StatementError:
            # Rows that nothing counts would be in the way of all that comes later, should the caller go on.
            tx.send_many(_SQL["delete_range"], [(end.first, end.place) for end in touched])
            raise
        tx.send_many(
            _SQL["move_ends"],
            [(e.partition_id, e.place & OFFSET_MASK, e.added, e.largest, e.arrived) for e in touched],
        )

    def _ends(self, tx: SqliteTransaction, topic: str, now: int) -> list[_End]:
        rows = tx.query(_SQL["ends"], (topic,))
        if not rows:
            self._topics.make_missing(tx, (topic,))
            rows = tx.query(_SQL["ends"], (topic,))
        known = cast("list[tuple[int, int, int, int]]", rows)
        # Arrival never goes back within a partition, whatever the clock does: it is searched by halving.
        return [_End(partition_id, head, max(now, arrived)) for _, partition_id, head, arrived in known]

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


def first_arrived_since(query: Query, partition_id: int, floor: int, head: int, since: datetime) -> int:
    """The offset of the first message that arrived at `since` or later; one beyond `head` when there is none."""
    wanted = microseconds(since) if since > EPOCH else 0
    low, high = floor + 1, head + 1
    while low < high:
        middle = (low + high) // 2
        rows = cast("list[tuple[int]]", query(_SQL["arrived_at"], (partition_id << OFFSET_BITS | middle,)))
        # A message that retention deleted meanwhile arrived before all that are left.
        arrived = rows[0][0] if rows else -1
        low, high = (middle + 1, high) if arrived < wanted else (low, middle)
    return low
