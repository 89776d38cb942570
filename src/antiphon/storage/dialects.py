"""How can one statement have a text for each kind of database, without its caller knowing which one it is?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Literal, Self

Dialect = Literal["sqlite", "postgres"]
OTHERS: tuple[Dialect, ...] = ("postgres",)
"""Those that may need a text of their own; without one they are given SQLite's."""

_NONE: Mapping[Dialect, str] = MappingProxyType({})


class Statement(str):  # noqa: SLOT000 - a text has no room for slots
    """A statement as SQLite understands it, which carries how it is said elsewhere.

    It is a `str`, so that whoever only passes it on, or runs it on SQLite, need not know.
    """

    twins: Mapping[Dialect, str] = _NONE

    @classmethod
    def of(cls, sql: str, twins: Mapping[Dialect, str]) -> Self:
        """`sql` with its twins; without any it is the same everywhere."""
        statement = cls(sql)
        statement.twins = twins
        return statement


def spoken(sql: str, dialect: Dialect) -> str:
    """What to say to a database of this kind."""
    return sql.twins.get(dialect, str(sql)) if isinstance(sql, Statement) else sql


def filled(statement: str, place: str, parts: Sequence[str]) -> Statement:
    """`statement` with `parts`, one after another, in `place`; each in the words of the dialect."""

    def fill(words: Callable[[str], str]) -> str:
        return words(statement).replace(place, "".join(map(words, parts)))

    return Statement.of(fill(str), {each: fill(partial(spoken, dialect=each)) for each in OTHERS})
