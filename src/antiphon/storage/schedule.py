"""Where do messages wait for the moment at which they are to be published?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from msgspec import Struct

from antiphon.errors import EncodeError, SchemaError
from antiphon.events.message import Message, Outgoing
from antiphon.storage.database import Database, SqlValue, Transaction
from antiphon.storage.envelopes import decode_message, encode_message
from antiphon.storage.moments import TICK, moment, time_of
from antiphon.storage.queries import load_queries
from antiphon.storage.texts import kept

_SQL = load_queries("antiphon.storage", "sql/schedule.sql")

MOST_BYTES = 4 * 1024 * 1024
"""What is claimed at once has at most so many bytes, or is one message."""
FIRST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=5)


class Scheduled(Struct, frozen=True, kw_only=True):
    """A message that waits to be published at its moment, and who scheduled it.

    While `is_publishing` it is in hand, and too late to cancel. With a `failure` the broker has refused it for good:
    it is kept to be seen, and not tried again.
    """

    id: str
    service: str
    topic: str
    key: str | None
    type: str
    at: datetime
    is_publishing: bool = False
    failure: str | None = None
    text: str
    """The whole message, encoded."""

    @property
    def message(self) -> Message:
        """The message itself. Raises SchemaError when it cannot be read."""
        return _read(self.id, self.text)


class Due(NamedTuple):
    """A message that was claimed: its time has come, and nobody else has it in hand."""

    number: int
    outgoing: Outgoing

    @property
    def id(self) -> str:
        """The message's."""
        return self.outgoing.message.id


class Backlog(NamedTuple):
    """How many messages wait, and how late the one is that should have been published first."""

    messages: int
    late: timedelta


async def schedule(tx: Transaction, outgoing: Sequence[Outgoing], at: datetime) -> None:
    """Keep these, when `tx` commits, to be published at that moment. One that is kept already stays as it is.

    Raises EncodeError.
    """
    await tx.execute_many(_SQL["schedule"], [_values(one, at) for one in outgoing])


async def list_scheduled(
    store: Database | Transaction, topic: str | None = None, service: str | None = None, limit: int = 100
) -> list[Scheduled]:
    """The first `limit` in the order of their moments, of one topic, of one service, or of all."""
    return [_scheduled(row) for row in await store.fetch(_SQL["list"], topic, service, limit, row=_Row)]


async def find_scheduled(store: Database | Transaction, id: str) -> Scheduled | None:
    """The one of this id, if it still waits."""
    found = await store.fetch(_SQL["find"], kept(id), row=_Row)
    return _scheduled(found[0]) if found else None


async def count_scheduled(store: Database | Transaction, topic: str | None = None, service: str | None = None) -> int:
    """How many are kept, failed ones included."""
    (number,) = await store.fetch(_SQL["count"], topic, service, row=int)
    return number


async def backlog(store: Database | Transaction, now: datetime) -> Backlog:
    """How much waits, failed ones left out."""
    ((messages, first),) = await store.fetch(_SQL["backlog"])
    assert isinstance(messages, int)
    late = max(now - time_of(first), timedelta()) if isinstance(first, int) else timedelta()
    return Backlog(messages, late)


async def cancel(tx: Transaction, ids: Iterable[str]) -> list[str]:
    """Forget these when `tx` commits; returns those that will never be published, in the order of their ids.

    The others are unknown, published already, or in hand: of those nobody can say that they were not published.
    """
    # In one order, since two who cancel the same ones would wait for each other in a circle.
    return [id for wanted in sorted(map(kept, ids)) for id in await tx.fetch(_SQL["cancel"], wanted, row=str)]


async def next_due(store: Database | Transaction, now: datetime) -> datetime | None:
    """The next moment at which something can be claimed, `now` if it can be already; None when nothing waits."""
    ((first, *later),) = await store.fetch(_SQL["moments"], moment(now))
    if isinstance(first, int) and first <= moment(now) and await store.fetch(_SQL["free"], moment(now), 1):
        return now
    return min((time_of(each) for each in later if isinstance(each, int)), default=None)


async def claim_due(tx: Transaction, now: datetime, limit: int, hold: timedelta, token: str) -> list[Due]:
    """Take up to `limit` of what is due into the hands of `token` for `hold`, in order of moment and of scheduling.

    What nobody said anything of when `hold` is over can be claimed again. Nothing is claimed while an earlier one of
    its key is in hand. One that cannot be read is marked as failed.
    """
    await tx.execute(_SQL["take_turn"])
    numbers = _within_bounds(await tx.fetch(_SQL["free"], moment(now), limit, row=tuple[int, int]))
    if not numbers:
        return []
    until = moment(now) + hold // TICK
    claimed = await tx.fetch(_SQL["claim"], token, until, _json(numbers), row=tuple[int, int, str, str, str])
    due: list[Due] = []
    for _, number, id, topic, text in sorted(claimed):
        try:
            due.append(Due(number, Outgoing(topic, _read(id, text))))
        except SchemaError as error:
            await fail(tx, {number: str(error)}, token)
    return due


async def done(tx: Transaction, numbers: Sequence[int], token: str) -> None:
    """Forget what was published, as far as `token` still has it in hand."""
    await tx.execute(_SQL["done"], token, _json(numbers))


async def put_off(
    tx: Transaction, numbers: Sequence[int], token: str, now: datetime, *, is_doubtful: bool = False
) -> None:
    """Let go of these for a while, the longer the more often it was tried; those of their keys wait, too.

    One that `is_doubtful` may have been published, so that it cannot be canceled any more.
    """
    pauses = FIRST_PAUSE // TICK, LONGEST_PAUSE // TICK
    await tx.execute(_SQL["put_off"], token, _json(numbers), moment(now), *pauses, is_doubtful)


async def fail(tx: Transaction, reasons: Mapping[int, str], token: str) -> None:
    """Never try these again; each is kept with its reason."""
    await tx.execute_many(_SQL["fail"], [(token, number, reason) for number, reason in reasons.items()])


class _Row(NamedTuple):
    id: str
    service: str
    topic: str
    key: str | None
    type: str
    due_at: int
    is_publishing: bool
    failure: str | None
    text: str


def _scheduled(row: _Row) -> Scheduled:
    values = row._asdict()
    return Scheduled(at=time_of(values.pop("due_at")), **values)


def _values(outgoing: Outgoing, at: datetime) -> tuple[SqlValue, ...]:
    topic, message = outgoing
    try:
        text = encode_message(message)
    except ValueError as error:
        raise EncodeError(f"message {message.id} to {topic!r} cannot be kept until {at}: {error}") from error
    key = None if message.key is None else kept(message.key)
    return kept(message.identity), message.source, topic, key, kept(message.type), len(text), moment(at), text


def _read(id: str, text: str) -> Message:
    try:
        return decode_message(text)
    except msgspec.DecodeError as error:
        raise SchemaError(f"the scheduled message {id} cannot be read: {error}") from error


def _within_bounds(free: Iterable[tuple[int, int]]) -> list[int]:
    """The first of these numbers whose bytes are together within bounds; at least one."""
    numbers: list[int] = []
    left = MOST_BYTES
    for number, size in free:
        left -= size
        if left < 0 and numbers:
            break
        numbers.append(number)
    return numbers


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()
