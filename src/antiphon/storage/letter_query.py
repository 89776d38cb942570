"""Which dead letters are meant: a question in plain values, and the condition in SQL that asks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from antiphon.storage.database import SqlValue
from antiphon.storage.dialects import filled
from antiphon.storage.queries import load_queries
from antiphon.storage.texts import kept

_SQL = load_queries("antiphon.storage", "sql/letter_query.sql")
_PLACE = "/* fitting */"


class LetterQuery(Struct, frozen=True, kw_only=True):
    """Dead letters that fit every field that is given; without any, all of them.

    `ids` are whole ids of dead letters, `message` is the id of a message, `type` the name of its event. `since` is the
    first moment of parking that fits, `until` the first that does not. `text` is looked for in `Class: text` of every
    attempt's error, whatever the case of its letters.
    """

    ids: tuple[str, ...] = ()
    group: str | None = None
    handler: str | None = None
    topic: str | None = None
    key: str | None = None
    type: str | None = None
    reason: str | None = None
    fingerprint: str | None = None
    message: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing was asked, so that every dead letter fits."""
        return self == LetterQuery()


class Compiled(NamedTuple):
    """A statement for one query, and its arguments in their order."""

    sql: str
    args: tuple[SqlValue, ...]


def compiled(statement: str, query: LetterQuery, *before: SqlValue, after: Sequence[SqlValue] = ()) -> Compiled:
    """`statement` with the conditions of `query` in its place for them; values are bound, never written into it.

    `before` and `after` are the arguments that the statement takes before and after the query's own.
    """
    conditions = list(_conditions(query))
    fitting = [part for name, _ in conditions for part in (" and ", _SQL[name])]
    return Compiled(
        filled(statement, _PLACE, fitting), (*before, *(value for _, values in conditions for value in values), *after)
    )


def _conditions(query: LetterQuery) -> Iterator[tuple[str, tuple[SqlValue, ...]]]:
    if query.ids:
        yield "by_ids", (msgspec.json.encode(query.ids).decode(),)
    for name in ("group", "handler", "topic", "reason", "fingerprint", "tenant"):
        value: str | None = getattr(query, name)
        if value is not None:
            yield f"by_{name}", (value,)
    if query.key is not None:
        yield "by_key", (kept(query.key), query.key.replace("\0", "\ufffd"))
    if query.type is not None:
        yield "by_type", (kept(query.type),)
    if query.message is not None:
        yield "by_message", (kept(query.message),)
    if query.since is not None:
        yield "by_since", (written(query.since),)
    if query.until is not None:
        yield "by_until", (written(query.until),)
    if query.text is not None:
        yield "by_text", (f"%{_escaped(query.text)}%",)


def written(moment: datetime) -> str:
    """A moment of parking as the table has it: in UTC, so that the order of texts is the order of moments."""
    return moment.astimezone(UTC).isoformat()


def _escaped(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return text
