"""Where does SQL live? In `.sql` files, each statement under a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from antiphon.errors import DeclarationError

_NAME_LINE = re.compile(r"^--[ \t]*name:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def load_queries(package: str, path: str) -> Mapping[str, str]:
    """The statements of the `.sql` file at `path` inside `package`, by name; read once.

    Each begins with a line `-- name: claim_lease`; what stands before the first is a comment on the file.
    Raises DeclarationError when the file is missing or a name is wrong, given twice, or has no statement.
    """
    file = files(package).joinpath(path)
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise DeclarationError(f"{package}/{path}: cannot read the queries: {error.strerror}") from error
    return parse_queries(text, f"{package}/{path}")


def parse_queries(text: str, source: str) -> Mapping[str, str]:
    """The statements of a `.sql` text by name; `source` is for error texts."""
    _, *parts = _NAME_LINE.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        statement = body.strip().removesuffix(";").rstrip()
        if not _NAME.fullmatch(name):
            raise DeclarationError(f"{source}: {name!r} is no name for a query: use lower case, digits and underscores")
        if name in queries:
            raise DeclarationError(f"{source}: two queries are called {name!r}: rename one")
        if not statement:
            raise DeclarationError(f"{source}: the query {name!r} has no statement")
        queries[name] = statement
    return MappingProxyType(queries)
