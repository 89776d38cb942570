"""How do messages get their places in the log?"""

from __future__ import annotations

from collections.abc import Sequence
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
        ends, rows = _values(batches)
        await tx.execute(_SQL["lock_heads"], ends[0])
        await tx.execute(_SQL["move_heads"], *ends)
        await tx.execute(_SQL["append"], self._log.id, *rows)

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
    """What a batch adds to a partition."""

    __slots__ = ("added", "count", "largest")

    def __init__(self) -> None:
        self.count = self.added = self.largest = 0


def _values(batches: Sequence[Batch]) -> tuple[list[str], list[SqlValue]]:
    """What the statements take that move the ends, and that append."""
    ends: dict[int, _End] = {}
    ranks: list[int] = []
    starts: list[int] = []
    sizes: list[int] = []
    parts: list[bytes] = []
    start = 1
    for batch in batches:
        for (_, message), lane, rest in zip(batch.outgoing, batch.lanes, batch.rests, strict=True):
            end = ends.get(lane) or ends.setdefault(lane, _End())
            end.count += 1
            ranks.append(end.count)
            starts.append(start)
            data = message.data
            size = -1
            if data is not None:
                size = len(data)
                parts.append(data)
                start += size
                end.added += size
                end.largest = max(end.largest, size)
            sizes.append(size)
            parts.append(rest)
            start += len(rest)
    lanes = [lane for batch in batches for lane in batch.lanes]
    ids, types, keys = zip(*[each for batch in batches for each in batch.texts], strict=True)
    moved = [
        numbers(ends),
        numbers([end.count for end in ends.values()]),
        numbers([end.added for end in ends.values()]),
        numbers([end.largest for end in ends.values()]),
    ]
    return moved, [
        numbers(lanes),
        numbers([ends[lane].count - rank for lane, rank in zip(lanes, ranks, strict=True)]),
        texts(ids),
        texts(types),
        texts_or_nulls(keys),
        numbers(starts),
        numbers(sizes),
        numbers([len(rest) for batch in batches for rest in batch.rests]),
        b"".join(parts),
    ]
