"""Where do messages rest that were given up, and what is known of why?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, cast

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from antiphon.events.ids import repeatable_id
from antiphon.events.message import Message
from antiphon.storage.database import Database, SqlValue, Transaction
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/dead_letters.sql")


class Attempt(Struct, frozen=True):
    """One failed attempt: when, the error's class and text, and where it was raised."""

    time: datetime
    error: str
    text: str
    traceback: str = ""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message given up, whole, with its diagnosis: where it lay, who gave it up, after which attempts.

    `reason` is one word that groups; `position` is the source's own. The group is the service's unless given, and
    the id follows from group, handler, message and position, so that parking the same twice is parking it once.
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
    id: str = ""

    def __post_init__(self) -> None:
        group = self.group or self.service
        place = f"{self.handler}\0{self.topic}\0{self.position}"
        force_setattr(self, "group", group)
        force_setattr(self, "id", self.id or repeatable_id(self.message.id, group, place, self.partition))


async def park(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Keep these when `tx` commits. One that is kept already, by its id, stays as it is."""
    await tx.execute_many(_SQL["park"], [_values(letter) for letter in letters])


async def list_parked(
    store: Database | Transaction, group: str | None = None, limit: int = 100
) -> Sequence[DeadLetter]:
    """The first `limit`, in the order in which they were parked; of one group or of all."""
    return [_letter(row) for row in await store.fetch(_SQL["list_parked"], group, limit, row=_Parked)]


async def count(store: Database | Transaction, group: str | None = None) -> int:
    """How many are parked, of one group or of all."""
    (number,) = await store.fetch(_SQL["count"], group, row=int)
    return number


class _Parked(NamedTuple):
    id: str
    group: str
    service: str
    handler: str
    topic: str
    partition: int
    position: str
    message: str
    attempts: str
    reason: str
    code_version: str
    parked_at: datetime


def _values(letter: DeadLetter) -> tuple[SqlValue, ...]:
    return (
        letter.id,
        letter.group,
        letter.service,
        letter.handler,
        letter.topic,
        letter.partition,
        letter.position,
        letter.message.id,
        letter.message.type,
        msgspec.json.encode(letter.message, enc_hook=_plain).decode(),
        msgspec.json.encode(letter.attempts).decode(),
        letter.reason,
        letter.code_version,
        letter.parked_at.isoformat(),
    )


def _letter(row: _Parked) -> DeadLetter:
    values = row._asdict()
    values["message"] = msgspec.json.decode(row.message, type=Message)
    values["attempts"] = msgspec.json.decode(row.attempts, type=tuple[Attempt, ...])
    return DeadLetter(**values)


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(cast("MappingProxyType[str, object]", value))
    raise NotImplementedError(f"a message cannot hold a {type(value).__name__}")
