"""How do many values travel as one, where a value is a number, a text or bytes?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_NUL = "\0"
"""Stands between texts: it is in none that PostgreSQL keeps."""


def numbers(values: Iterable[int]) -> str:
    """An array of numbers, as PostgreSQL reads it."""
    return f"{{{','.join(map(str, values))}}}"


def texts(values: Sequence[str]) -> str:
    """An array of texts without NUL characters."""
    return f'{{"{_escaped(_NUL.join(values))}"}}' if values else "{}"


def texts_or_nulls(values: Sequence[str | None]) -> str:
    """As `texts`, of which some may be missing."""
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return texts(known)
    return f"{{{','.join('null' if value is None else f'{chr(34)}{_escaped(value)}{chr(34)}' for value in values)}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace(_NUL, '","')
