"""Where in a SQL text do the values go? `?` and `?2` as on SQLite, `$1` and `$2` as PostgreSQL has them.

A question mark in a string, a quoted name, a dollar-quoted text or a comment is none of ours. `??` is the operator `?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# What begins something that is not plain SQL. A dollar quote does not begin inside a name.
_SPECIAL = re.compile(r"[eE]'|'|\"|(?<![\w$])\$(?:[^\W\d]\w*)?\$|--|/\*|\?\?|\?\d*")
_ENDS = {
    "'": re.compile(r"(?:[^']|'')*'"),
    '"': re.compile(r'(?:[^"]|"")*"'),
    "e'": re.compile(r"(?:[^'\\]|\\.|'')*'", re.DOTALL),
    "--": re.compile(r"[^\n]*"),
}
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_WORD_BEFORE = re.compile(r"\w\Z")


class Numbered(NamedTuple):
    """A text with `$n` for its values, and how many values it takes."""

    sql: str
    values: int


def numbered(sql: str) -> Numbered:
    """`sql` as PostgreSQL wants it. A `?` takes the number after the highest before it, as on SQLite."""
    pieces: list[str] = []
    last = highest = 0
    for start, end in _placeholders(sql):
        mark = sql[start:end]
        pieces.append(sql[last:start])
        last = end
        if mark == "??":
            pieces.append("?")
            continue
        number = int(mark[1:]) if len(mark) > 1 else highest + 1
        highest = max(highest, number)
        pieces.append(f"${number}")
    return Numbered("".join([*pieces, sql[last:]]), highest)


def is_complete(sql: str) -> bool:
    """Whether its last character, a semicolon, ends a statement: it is in no string and in no comment."""
    position = 0
    while (found := _SPECIAL.search(sql, position)) is not None:
        position = _end_of(sql, found)
        if position < 0 or (found[0] == "--" and position == len(sql)):
            return False
    return True


def _placeholders(sql: str) -> Iterator[tuple[int, int]]:
    position = 0
    while (found := _SPECIAL.search(sql, position)) is not None:
        if found[0].startswith("?"):
            yield found.span()
        position = _end_of(sql, found)
        if position < 0:
            return  # the server says better than we could what is not ended


def _end_of(sql: str, found: re.Match[str]) -> int:
    """Where what begins there is over; -1 when it never is."""
    mark, start = found[0], found.end()
    if mark.startswith("?"):
        return start
    if mark == "/*":
        return _end_of_comment(sql, start)
    if mark.startswith("$"):
        end = sql.find(mark, start)
        return end if end < 0 else end + len(mark)
    if mark.lower() == "e'" and _WORD_BEFORE.search(sql[: found.start()]):
        mark = "'"  # the end of a name or keyword, not the beginning of a string with escapes
    ended = _ENDS[mark.lower()].match(sql, start)
    return -1 if ended is None else ended.end()


def _end_of_comment(sql: str, position: int) -> int:
    """Comments nest in PostgreSQL."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(sql, position)
        if edge is None:
            return -1
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def quoted(name: str) -> str:
    """A name as it is written where a name of any characters may stand."""
    return '"' + name.replace('"', '""') + '"'
