"""Where do messages rest that were committed with what they tell of, until a broker holds them?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from antiphon.errors import EncodeError
from antiphon.events.message import Message, Outgoing
from antiphon.storage.database import Database, SqlValue, Transaction
from antiphon.storage.envelopes import decode_message, encode_message
from antiphon.storage.moments import moment, time_of
from antiphon.storage.queries import load_queries
from antiphon.storage.texts import kept

_SQL = load_queries("antiphon.storage", "sql/outbox.sql")

BUCKETS: Final = 64
"""Parts of the outbox, by the hash of the key, that are published side by side."""
OUTBOX_GROUP: Final = "@outbox"
"""The group under which the dead letters of the outbox rest. No consumer can have it."""
MOST_BYTES = 8 * 1024 * 1024
"""What is read at once has some so many bytes, or is one message."""


class Staged(NamedTuple):
    """A message that rests in the outbox, and where in it."""

    number: int
    bucket: int
    outgoing: Outgoing


class Unreadable(NamedTuple):
    """A row of the outbox that is no message; its text is kept as it is."""

    number: int
    bucket: int
    topic: str
    text: str
    reason: str


class OutboxBacklog(NamedTuple):
    """How many messages rest in the outbox, and for how long the oldest one has."""

    messages: int
    age: timedelta


def bucket_of(message: Message) -> int:
    """The part of the outbox that a message belongs to: the same for all of one key."""
    name = message.identity if message.key is None else message.key
    return crc32(name.encode("utf-8", "surrogatepass")) % BUCKETS


async def stage(tx: Transaction, outgoing: Iterable[Outgoing], now: datetime) -> None:
    """Have these published once `tx` has committed. One statement, however many there are. Raises EncodeError."""
    rows = [_row(one) for one in outgoing]
    if rows:
        await tx.execute(_SQL["stage"], moment(now), msgspec.json.encode(rows).decode())


async def next_staged(
    store: Database, buckets: Collection[int], limit: int, most_bytes: int = MOST_BYTES
) -> tuple[list[Staged], list[Unreadable]]:
    """The first of these buckets, up to `limit` and some `most_bytes`, in order; and those that cannot be read."""
    rows = await store.fetch(_SQL["next"], _json(sorted(buckets)), limit, most_bytes, row=tuple[int, int, str, str])
    staged: list[Staged] = []
    unreadable: list[Unreadable] = []
    for number, bucket, topic, text in rows:
        try:
            staged.append(Staged(number, bucket, Outgoing(topic, decode_message(text))))
        except msgspec.DecodeError as error:
            unreadable.append(Unreadable(number, bucket, topic, text, str(error)))
    return staged, unreadable


async def forget_staged(tx: Transaction, numbers: Sequence[int]) -> None:
    """Forget these: a broker holds them, or they rest elsewhere."""
    await tx.execute(_SQL["forget"], _json(numbers))


async def outbox_backlog(store: Database | Transaction, now: datetime) -> OutboxBacklog:
    """How much rests in the outbox of the whole store."""
    ((messages, first),) = await store.fetch(_SQL["backlog"])
    assert isinstance(messages, int)
    age = max(now - time_of(first), timedelta()) if isinstance(first, int) else timedelta()
    return OutboxBacklog(messages, age)


async def is_outbox_empty(store: Database | Transaction) -> bool:
    """Whether nothing rests in the outbox."""
    return await store.fetch(_SQL["is_empty"]) == [(1,)]


def _row(outgoing: Outgoing) -> dict[str, SqlValue]:
    topic, message = outgoing
    try:
        text = encode_message(message)
    except ValueError as error:
        raise EncodeError(f"message {message.id} to {topic!r} cannot be kept in the outbox: {error}") from error
    key = None if message.key is None else kept(message.key)
    return {"bucket": bucket_of(message), "topic": topic, "key": key, "message": text}


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()
