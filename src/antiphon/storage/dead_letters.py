"""Where do messages rest that were given up, and what is known of why?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from antiphon.events.message import Message
from antiphon.storage.database import Database, Transaction
from antiphon.storage.envelopes import decode_message
from antiphon.storage.letter_query import LetterQuery, compiled, written
from antiphon.storage.queries import load_queries
from antiphon.storage.set_aside import AsideState, Attempt, SetAside, aside_id, set_aside

_SQL = load_queries("antiphon.storage", "sql/dead_letters.sql")
_ATTEMPTS = msgspec.json.Decoder(tuple[Attempt, ...])
_PAST_ANY_ID = "~"  # ids are of hexadecimal digits and hyphens, and this is greater than all of them
_ALL = LetterQuery()


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message given up, whole, with its diagnosis: where it lay, who gave it up, after which attempts.

    `reason` is one word that groups; `position` is the source's own. The group is the service's unless given, and
    the id follows from group, handler, message and position, so that parking the same twice is parking it once.
    `lane` is its key where what follows it waits; `fingerprint` is the same for the same failure.
    """

    message: Message
    topic: str
    partition: int
    position: str
    service: str
    handler: str
    attempts: tuple[Attempt, ...]
    reason: str
    code_version: str
    parked_at: datetime
    group: str = ""
    lane: str | None = None
    fingerprint: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        group = self.group or self.service
        force_setattr(self, "group", group)
        id = self.id or aside_id(self.message, group, self.handler, self.topic, self.partition, self.position)
        force_setattr(self, "id", id)


class RedriveState(IntEnum):
    """How a redrive stands with a letter that it took."""

    NONE = 0
    """No redrive took it."""
    WAITING = 1
    """It waits for its turn, still parked."""
    RELEASED = 2
    """It is on its way to its handler again."""
    FAILED = 3
    """It was given up again."""


class StoredLetter(Struct, frozen=True, kw_only=True):
    """A dead letter as it lies in the store. `number` grows in the order in which messages were set aside.

    `edited` is what its handler is given instead of the message as it came. `redrive` is the last one that took it,
    `busy` the one that has it now. One that is not `PARKED` is on its way again; `attempts` are then those made so far.
    """

    number: int
    letter: DeadLetter
    state: AsideState = AsideState.PARKED
    edited: Message | None = None
    redrive: str | None = None
    redrive_state: RedriveState = RedriveState.NONE
    busy: str | None = None

    @property
    def id(self) -> str:
        return self.letter.id

    @property
    def current(self) -> Message:
        """The message that its handler is given."""
        return self.edited or self.letter.message


class Failure(Struct, frozen=True, kw_only=True):
    """Dead letters of one group and handler that failed alike: how many, since when, and one of them."""

    group: str
    handler: str
    fingerprint: str
    count: int
    first: datetime
    last: datetime
    example: str
    """The id of the newest one."""
    error: str
    """Class and text of what it failed with last."""


class LetterOutline(NamedTuple):
    """As much of a dead letter as decides what can be done with it."""

    number: int
    id: str
    state: AsideState
    busy: str | None
    group: str
    handler: str
    topic: str
    type: str


class Behind(NamedTuple):
    """What waits behind a dead letter of its key."""

    messages: int
    oldest: datetime | None


async def park(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Keep these when `tx` commits. One that is kept already, by its id, stays as it is."""
    await set_aside(tx, [_aside(letter) for letter in letters])


async def list_parked(
    store: Database | Transaction, group: str | None = None, limit: int = 100
) -> Sequence[DeadLetter]:
    """The first `limit`, in the order in which they were set aside; of one group or of all."""
    return [found.letter for found in await find(store, LetterQuery(group=group), limit)]


async def find(store: Database | Transaction, query: LetterQuery, limit: int, after: int = 0) -> list[StoredLetter]:
    """The first `limit` parked ones that fit, in order of their numbers and above `after`, for the next page."""
    sql, args = compiled(_SQL["find"], query, after, after=(limit,))
    return [_stored(row) for row in await store.fetch(sql, *args, row=_Row)]


async def outline(store: Database | Transaction, query: LetterQuery, limit: int) -> list[LetterOutline]:
    """As `find`, of each only the outline; of whole ids that are given also those that are on their way again."""
    statement = _SQL["outline_any" if query.ids else "outline"]
    sql, args = compiled(statement, query, after=(limit,))
    return await store.fetch(sql, *args, row=LetterOutline)


async def parked_before(store: Database | Transaction, numbers: Sequence[int], moment: datetime) -> int:
    """How many of these were parked before that."""
    chosen = msgspec.json.encode(numbers).decode()
    (count,) = await store.fetch(_SQL["parked_before"], written(moment), chosen, row=int)
    return count


async def groups_in_redrive(store: Database | Transaction, redrive: str) -> list[str]:
    """The groups of those letters of a redrive that wait for their turn or are on their way."""
    return await store.fetch(_SQL["groups_in_redrive"], redrive, row=str)


async def find_any(store: Database | Transaction, ids: Sequence[str]) -> list[StoredLetter]:
    """Those of these whole ids that are there, parked or on their way again, in order of their numbers."""
    chosen = msgspec.json.encode(ids).decode()
    return [_stored(row) for row in await store.fetch(_SQL["find_any"], chosen, row=_Row)]


async def ids_beginning(store: Database | Transaction, beginning: str, limit: int = 2) -> list[str]:
    """The first `limit` ids that begin so, parked or on their way again."""
    return await store.fetch(_SQL["ids_beginning"], beginning, beginning + _PAST_ANY_ID, limit, row=str)


async def count(store: Database | Transaction, group: str | None = None) -> int:
    """How many are parked, of one group or of all."""
    return await count_fitting(store, LetterQuery(group=group))


async def count_fitting(store: Database | Transaction, query: LetterQuery = _ALL) -> int:
    """How many parked ones fit."""
    sql, args = compiled(_SQL["count"], query)
    (number,) = await store.fetch(sql, *args, row=int)
    return number


async def failures(store: Database | Transaction, query: LetterQuery = _ALL) -> list[Failure]:
    """The parked ones that fit, by group, handler and fingerprint, the most frequent failure first.

    A failure of which the newest letter is handled or dropped at the same moment may be left out.
    """
    sql, args = compiled(_SQL["failures"], query)
    found = await store.fetch(sql, *args, row=_Failed)
    numbers = msgspec.json.encode([row.example for row in found]).decode()
    examples = {row.number: row for row in await store.fetch(_SQL["examples"], numbers, row=_Example)}
    return [_failure(row, examples[row.example]) for row in found if row.example in examples]


async def behind(store: Database | Transaction, letter: DeadLetter) -> Behind:
    """How many messages of its key wait behind it, and since when the oldest does."""
    args = (letter.group, letter.topic, letter.lane, letter.id)
    (found,) = await store.fetch(_SQL["behind"], *args, row=Behind)
    return found


class _Row(NamedTuple):
    number: int
    state: AsideState
    edited: str | None
    redrive: str | None
    redrive_state: RedriveState
    busy: str | None
    id: str
    group: str
    service: str
    handler: str
    topic: str
    partition: int
    position: str
    lane: str | None
    message: str
    attempts: str
    reason: str
    fingerprint: str
    code_version: str
    parked_at: datetime


_OUTER = _Row._fields[:6]


class _Failed(NamedTuple):
    group: str
    handler: str
    fingerprint: str
    times: int
    first: datetime
    last: datetime
    example: int


class _Example(NamedTuple):
    number: int
    id: str
    reason: str
    attempts: str


def letter_of(item: SetAside) -> DeadLetter:
    """The dead letter that a message becomes when it is set aside as parked."""
    return DeadLetter(
        message=item.message,
        topic=item.topic,
        partition=item.partition,
        position=item.position,
        service=item.service,
        group=item.group,
        handler=item.handler,
        lane=item.lane,
        attempts=item.attempts,
        reason=item.reason,
        fingerprint=item.fingerprint,
        code_version=item.code_version,
        parked_at=item.since,
    )


def _aside(letter: DeadLetter) -> SetAside:
    return SetAside(
        message=letter.message,
        topic=letter.topic,
        partition=letter.partition,
        position=letter.position,
        service=letter.service,
        group=letter.group,
        handler=letter.handler,
        lane=letter.lane,
        state=AsideState.PARKED,
        since=letter.parked_at,
        attempts=letter.attempts,
        reason=letter.reason,
        fingerprint=letter.fingerprint,
        code_version=letter.code_version,
    )


def _stored(row: _Row) -> StoredLetter:
    values = {name: value for name, value in row._asdict().items() if name not in _OUTER}
    values["message"] = decode_message(row.message)
    values["attempts"] = _ATTEMPTS.decode(row.attempts)
    return StoredLetter(
        number=row.number,
        letter=DeadLetter(**values),
        state=row.state,
        edited=None if row.edited is None else decode_message(row.edited),
        redrive=row.redrive,
        redrive_state=row.redrive_state,
        busy=row.busy,
    )


def _failure(row: _Failed, example: _Example) -> Failure:
    attempts = _ATTEMPTS.decode(example.attempts)
    error = f"{attempts[-1].error}: {attempts[-1].text}" if attempts else example.reason
    return Failure(
        group=row.group,
        handler=row.handler,
        fingerprint=row.fingerprint,
        count=row.times,
        first=row.first,
        last=row.last,
        example=example.id,
        error=error,
    )
