"""How do messages get their places in the log?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import time_ns

from antiphon.brokers.envelope import objection, pack_rest
from antiphon.brokers.placement import hash_of_key
from antiphon.brokers.postgres.arrays import numbers, texts, texts_or_nulls
from antiphon.brokers.postgres.log import Log
from antiphon.brokers.postgres.odd import MARK, Texts, kept
from antiphon.brokers.postgres.topics import Topics
from antiphon.brokers.screening import screen
from antiphon.errors import Refusal
from antiphon.events.message import Outgoing
from antiphon.storage.database import SqlValue, Transaction
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.brokers.postgres", "sql/messages.sql")
_LONGEST_TOPIC = 1000
"""In bytes: an index takes no more than some 2,700."""

_MOST_AT_ONCE = 64 * 1024 * 1024
"""Bytes that are sent as one value."""

_Row = tuple[Texts, bytes | None, bytes, int]
"""Texts, data, the rest of the envelope, and the id of the partition."""


class Batch:
    """Messages made ready outside of any transaction, each with its envelope, in order."""

    __slots__ = ("bytes", "lanes", "outgoing", "rests", "texts")

    def __init__(self, outgoing: Sequence[Outgoing]) -> None:
        self.outgoing = outgoing
        self.rests = [pack_rest(message) for _, message in outgoing]
        self.lanes: list[int] = []
        """The partition of each, by its id."""
        self.bytes = sum(len(message.data or b"") for _, message in outgoing)
        self.texts: list[Texts] = [(message.id, message.type, message.key) for _, message in outgoing]
        """Id, type and key of each, as they are kept."""
        if _have_odd(outgoing):
            self.texts = [kept(each) for each in self.texts]

    def rows(self) -> Iterator[_Row]:
        """What is kept of each, once they have their places."""
        data = [message.data for _, message in self.outgoing]
        return zip(self.texts, data, self.rests, self.lanes, strict=True)

    @property
    def topics(self) -> set[str]:
        return {topic for topic, _ in self.outgoing}


class Appender:
    """Writes batches at the ends of their partitions, inside whichever transaction it is given."""

    def __init__(self, log: Log, topics: Topics, max_message_bytes: int) -> None:
        self._log, self._topics, self._limit = log, topics, max_message_bytes
        self._turn = time_ns() // 1000

    async def prepare(self, outgoing: Sequence[Outgoing]) -> tuple[Batch, Sequence[Refusal]]:
        """What may be written, encoded and placed before any lock is taken, and a refusal for each of the others.

        Unknown topics are made at once.
        """
        batch, refusals = self._encode(outgoing)
        await self._topics.make_missing(batch.topics)
        ids_of, turn = self._topics.ids_of, self._next_turn
        for topic, message in batch.outgoing:
            key, ids = message.key, ids_of(topic)
            batch.lanes.append(ids[(turn() if key is None else hash_of_key(key)) % len(ids)])
        return batch, refusals

    async def append(self, tx: Transaction, batches: Sequence[Batch]) -> None:
        """Write the batches at the ends of their partitions; nothing is awaited but room to send.

        The ends are locked until `tx` commits, so that no reader passes a position that commits later: let it be
        the last that is written. They are locked in one order, so that two who write wait for each other in a line.
        """
        await tx.execute(_SQL["lock_heads"], numbers({lane for batch in batches for lane in batch.lanes}))
        for rows in _divided([row for batch in batches for row in batch.rows()]):
            ends = _ends(rows)
            await tx.execute(_SQL["move_heads"], *_moves(ends))
            await tx.execute(_SQL["append"], self._log.id, *_columns(rows, ends))

    def _encode(self, outgoing: Sequence[Outgoing]) -> tuple[Batch, Sequence[Refusal]]:
        limit = self._limit
        if all(message.data is None or len(message.data) <= limit for _, message in outgoing):
            try:
                return Batch(outgoing), ()
            except (TypeError, ValueError, OverflowError):
                pass  # one of them cannot be written; find out which
        accepted, refusals = screen(outgoing, self._objection)
        return Batch(accepted), refusals

    def _objection(self, outgoing: Outgoing) -> str | None:
        try:
            _have_odd([outgoing])
        except ValueError as error:
            return str(error)
        return objection(outgoing, self._limit)

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


def _have_odd(outgoing: Sequence[Outgoing]) -> bool:
    """Whether any may be odd. Raises ValueError where a text or the name of a topic is one that cannot be kept."""
    text = "".join([f"{message.id}{message.type}{message.key}" for _, message in outgoing])
    text.encode()
    for topic in {topic for topic, _ in outgoing}:
        if "\0" in topic or len(topic.encode()) > _LONGEST_TOPIC:
            raise ValueError(f"the name of its topic has a NUL character, or more than {_LONGEST_TOPIC} bytes")
    return "\0" in text or MARK in text


class _End:
    """What is added to a partition."""

    __slots__ = ("added", "count", "largest")

    def __init__(self) -> None:
        self.count = self.added = self.largest = 0


def _divided(rows: list[_Row]) -> Iterator[list[_Row]]:
    """The rows in parts that can be sent as one value each: a server takes no more than a gigabyte."""
    start = size = 0
    for index, row in enumerate(rows):
        size += len(row[1] or b"") + len(row[2])
        if size > _MOST_AT_ONCE and index > start:
            yield rows[start:index]
            start, size = index, len(row[1] or b"") + len(row[2])
    yield rows[start:]


def _ends(rows: Sequence[_Row]) -> dict[int, _End]:
    ends: dict[int, _End] = {}
    for _, data, _, lane in rows:
        end = ends.get(lane) or ends.setdefault(lane, _End())
        end.count += 1
        if data:
            size = len(data)
            end.added += size
            end.largest = max(end.largest, size)
    return ends


def _moves(ends: Mapping[int, _End]) -> list[str]:
    """How far each end moves."""
    return [
        numbers(ends),
        numbers([end.count for end in ends.values()]),
        numbers([end.added for end in ends.values()]),
        numbers([end.largest for end in ends.values()]),
    ]


def _columns(rows: Sequence[_Row], ends: Mapping[int, _End]) -> list[SqlValue]:
    """Each column of the rows as one value."""
    left = {lane: end.count for lane, end in ends.items()}
    behind: list[int] = []
    starts: list[int] = []
    parts: list[bytes] = []
    start = 1
    for _, data, rest, lane in rows:
        left[lane] -= 1
        behind.append(left[lane])
        starts.append(start)
        if data is not None:
            parts.append(data)
            start += len(data)
        parts.append(rest)
        start += len(rest)
    ids, types, keys = zip(*[row[0] for row in rows], strict=True)
    return [
        numbers([row[3] for row in rows]),
        numbers(behind),
        texts(ids),
        texts(types),
        texts_or_nulls(keys),
        numbers(starts),
        numbers([-1 if row[1] is None else len(row[1]) for row in rows]),
        numbers([len(row[2]) for row in rows]),
        b"".join(parts),
    ]
