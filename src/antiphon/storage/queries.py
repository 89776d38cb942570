"""Where does SQL live? In `.sql` files, each statement under a name.

`sql/inbox.sql` holds what every database understands, as SQLite says it. What PostgreSQL has to be told in other words
stands under the same name in `sql/postgres/inbox.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pkgutil import get_data
from types import MappingProxyType

from antiphon.errors import DeclarationError
from antiphon.storage.dialects import OTHERS, Dialect, PortableSql

_NAME_LINE = re.compile(r"^--[ \t]*name:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^[ \t]*--[^\n]*\n?", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def load_queries(package: str, path: str) -> Mapping[str, PortableSql]:
    """The statements of the `.sql` file at `path` inside `package`, by name, with their wordings; read once.

    Each begins with a line `-- name: claim_lease`; what stands before the first is a comment on the file.
    Raises DeclarationError when the file is missing or a name is wrong, given twice, unknown or has no statement.
    """
    folder, _, name = path.rpartition("/")
    try:
        queries = _read(package, path)
    except OSError as error:
        raise DeclarationError(f"{package}/{path}: cannot read the queries: {error.strerror}") from error
    wordings: dict[Dialect, Mapping[str, str]] = {}
    for dialect in OTHERS:
        beside = f"{folder}/{dialect}/{name}"
        with suppress(FileNotFoundError):  # then all of them are in words that every database understands
            wordings[dialect] = _known(_read(package, beside), queries, f"{package}/{beside}")
    return MappingProxyType({name: _with_wordings(name, sql, wordings) for name, sql in queries.items()})


def _read(package: str, path: str) -> Mapping[str, str]:
    # `importlib.resources` would do, but brings archives and temporary files, which take longer than all of the SQL.
    data = get_data(package, path)
    if data is None:
        raise DeclarationError(f"{package}/{path}: this package was loaded by what reads no files beside its modules")
    return parse_queries(data.decode(), f"{package}/{path}")


def _known(found: Mapping[str, str], queries: Mapping[str, str], source: str) -> Mapping[str, str]:
    for name in found:
        if name not in queries:
            raise DeclarationError(f"{source}: the query {name!r} is not in the file that this one stands beside")
    return found


def _with_wordings(name: str, sql: str, wordings: Mapping[Dialect, Mapping[str, str]]) -> PortableSql:
    return PortableSql.of(sql, {dialect: texts[name] for dialect, texts in wordings.items() if name in texts})


def parse_queries(text: str, source: str) -> Mapping[str, str]:
    """The statements of a `.sql` text by name, without lines that are comments; `source` is for error texts.

    Comments are for readers of the file: databases, and errors that quote a statement, do without.
    """
    _, *parts = _NAME_LINE.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        statement = _COMMENT_LINE.sub("", body).strip().removesuffix(";").rstrip()
        if not _NAME.fullmatch(name):
            raise DeclarationError(f"{source}: {name!r} is no name for a query: use lower case, digits and underscores")
        if name in queries:
            raise DeclarationError(f"{source}: two queries are called {name!r}: rename one")
        if not statement:
            raise DeclarationError(f"{source}: the query {name!r} has no statement")
        queries[name] = statement
    return MappingProxyType(queries)
