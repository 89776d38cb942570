"""How can one statement have a wording for each kind of database, without its caller knowing which one it is?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Literal, Self

Dialect = Literal["sqlite", "postgres"]
OTHERS: tuple[Dialect, ...] = ("postgres",)
"""Those that may need a text of their own; without one they are given SQLite's."""

_NONE: Mapping[Dialect, str] = MappingProxyType({})


class PortableSql(str):  # noqa: SLOT000 - a text has no room for slots
    """A statement as SQLite understands it, which carries its wordings for others.

    It is a `str`, so that whoever only passes it on, or runs it on SQLite, need not know.
    """

    wordings: Mapping[Dialect, str] = _NONE

    @classmethod
    def of(cls, sql: str, wordings: Mapping[Dialect, str]) -> Self:
        """`sql` with its wordings; without any it is the same everywhere."""
        portable = cls(sql)
        portable.wordings = wordings
        return portable


def spoken(sql: str, dialect: Dialect) -> str:
    """What to say to a database of this kind."""
    return sql.wordings.get(dialect, str(sql)) if isinstance(sql, PortableSql) else sql


def filled(statement: str, place: str, parts: Sequence[str]) -> PortableSql:
    """`statement` with `parts`, one after another, in `place`; each in the words of the dialect."""

    def fill(words: Callable[[str], str]) -> str:
        return words(statement).replace(place, "".join(map(words, parts)))

    return PortableSql.of(fill(str), {each: fill(partial(spoken, dialect=each)) for each in OTHERS})
