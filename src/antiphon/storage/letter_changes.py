"""Who changed or dropped which dead letters, when, and what they were before?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct

from antiphon.events.message import Message
from antiphon.storage.database import Database, Transaction
from antiphon.storage.dead_letters import DeadLetter, StoredLetter
from antiphon.storage.envelopes import decode_message, encode_message
from antiphon.storage.queries import load_queries
from antiphon.storage.set_aside import Attempt, RetryStore, take_turn

_SQL = load_queries("antiphon.storage", "sql/letter_changes.sql")
_NEWEST = 2**63 - 1


class ChangeKind(StrEnum):
    """What was done to a dead letter."""

    EDIT = "edit"
    REVERT = "revert"
    """Its edits were taken back."""
    DROP = "drop"


class LetterChange(Struct, frozen=True, kw_only=True):
    """One change of one dead letter: when and by whom, the message before and after.

    Of a dropped one `dropped` is the letter as it was, and `after` its edited message, if it had one.
    """

    number: int
    letter: str
    group: str
    kind: ChangeKind
    time: datetime
    by: str
    before: Message
    after: Message | None = None
    dropped: DeadLetter | None = None


class Author(NamedTuple):
    """Who changes something, and when."""

    by: str
    time: datetime


async def put_edit(tx: Transaction, letter: StoredLetter, edited: Message | None, author: Author) -> bool:
    """Let its handler be given `edited`, or the message as it came, from the commit of `tx` on, and note it.

    False, and nothing changed, when it is no dead letter any more, was edited since it was read, or is being redriven.
    """
    await take_turn(tx)  # else one that is redriven now would be handled as it was, and pass for edited
    before = encode_message(letter.current)
    after = None if edited is None else encode_message(edited)
    if not await tx.fetch(_SQL["edit"], letter.letter.id, before, after):
        return False
    kind = ChangeKind.REVERT if edited is None else ChangeKind.EDIT
    kept = encode_message(letter.letter.message) if edited is None else after
    found = letter.letter
    await tx.execute(_SQL["note_edit"], found.id, found.group, kind, author.time.isoformat(), author.by, before, kept)
    return True


async def drop_letters(tx: Transaction, numbers: Sequence[int], author: Author) -> None:
    """Forget these dead letters when `tx` commits, keep a note of each, and let go what waits behind them."""
    await take_turn(tx)
    chosen = msgspec.json.encode(numbers).decode()
    lanes = await tx.fetch(_SQL["lanes"], chosen, row=tuple[str, str, str])
    await tx.execute(_SQL["note_drops"], author.time.isoformat(), author.by, chosen)
    await tx.execute(_SQL["drop"], chosen)
    for group in {group for group, _, _ in lanes}:
        of_group = [(topic, lane) for other, topic, lane in lanes if other == group]
        await RetryStore(group, token="", hold=timedelta()).promote(tx, of_group, author.time)


async def changes_of(store: Database | Transaction, letter: str) -> list[LetterChange]:
    """All that was done to the dead letter of this id, in order."""
    return [_change(row) for row in await store.fetch(_SQL["changes_of"], letter, row=_Row)]


async def list_dropped(
    store: Database | Transaction, group: str | None = None, limit: int = 100, before: int = _NEWEST
) -> list[LetterChange]:
    """The last `limit` that were dropped, the newest first, with numbers below `before`, for the next page."""
    return [_change(row) for row in await store.fetch(_SQL["dropped"], before, group, limit, row=_Row)]


class _Row(NamedTuple):
    number: int
    letter: str
    group: str
    kind: ChangeKind
    time: datetime
    by: str
    before: str
    after: str | None
    diagnosis: str | None


class _Diagnosis(Struct):
    service: str
    handler: str
    topic: str
    partition: int
    position: str
    attempts: tuple[Attempt, ...]
    reason: str
    fingerprint: str
    code_version: str
    parked_at: datetime
    lane: str | None = None


def _change(row: _Row) -> LetterChange:
    message = decode_message(row.before)
    return LetterChange(
        number=row.number,
        letter=row.letter,
        group=row.group,
        kind=row.kind,
        time=row.time,
        by=row.by,
        before=message,
        after=None if row.after is None else decode_message(row.after),
        dropped=None if row.diagnosis is None else _dropped(row, row.diagnosis, message),
    )


def _dropped(row: _Row, diagnosis: str, message: Message) -> DeadLetter:
    said = msgspec.structs.asdict(msgspec.json.decode(diagnosis, type=_Diagnosis))
    return DeadLetter(message=message, group=row.group, id=row.letter, **said)
