"""How is a text kept that has a character which no text of PostgreSQL can have?

Messages with a NUL character in id, type or key are odd. Their texts are escaped, and a mark before their type says so;
of all others nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence

_ESCAPE, _NUL = "\x10", "\0"
MARK = _ESCAPE
"""In the kept type of an odd message, and in no other."""

Texts = tuple[str, str, str | None]
"""Id, type and key."""


def is_odd(texts: Texts) -> bool:
    """Whether they cannot be kept as they are."""
    id, type, key = texts
    return _NUL in id or _NUL in type or MARK in type or (key is not None and _NUL in key)


def kept(texts: Texts) -> Texts:
    """As they are kept."""
    if not is_odd(texts):
        return texts
    id, type, key = texts
    return _escaped(id), MARK + _escaped(type), None if key is None else _escaped(key)


def given(texts: Texts) -> Texts:
    """As they were before they were kept."""
    id, type, key = texts
    if not type.startswith(MARK):
        return texts
    return _unescaped(id), _unescaped(type[1:]), None if key is None else _unescaped(key)


def any_marked(types: Sequence[str]) -> bool:
    """Whether any of these kept types is that of an odd message."""
    return MARK in "".join(types)


def _escaped(text: str) -> str:
    return text.replace(_ESCAPE, _ESCAPE + "1").replace(_NUL, _ESCAPE + "0")


def _unescaped(text: str) -> str:
    first, *parts = text.split(_ESCAPE)
    return first + "".join((_NUL if part[0] == "0" else _ESCAPE) + part[1:] for part in parts)
