"""How do a statement's rows become values of the type that the caller asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import TypeVar, cast, get_origin, is_typeddict

import msgspec

from antiphon.errors import SchemaError
from antiphon.storage.database import Row

T = TypeVar("T")


def convert_rows(rows: Sequence[Row], columns: Sequence[str], row: type[T]) -> list[T]:
    """A struct, dataclass or TypedDict by column names, a tuple by place, anything else from the only column.

    Text becomes a datetime, Decimal, UUID or enum, and 0 or 1 a bool, where the type says so. Raises SchemaError.
    """
    try:
        return msgspec.convert(_shaped(rows, columns, row), list[row], strict=False)  # type: ignore[valid-type]  # `row` is a value
    except msgspec.ValidationError as error:
        name = getattr(row, "__name__", row)
        raise SchemaError(f"a row of ({', '.join(columns)}) does not fit {name}: {error}") from error


def _shaped(rows: Sequence[Row], columns: Sequence[str], row: type[T]) -> Sequence[object]:
    kind = cast("object", get_origin(row) or row)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return rows
    if isinstance(kind, type) and _has_named_fields(kind):
        return [dict(zip(columns, values, strict=True)) for values in rows]
    if len(columns) != 1:
        name = getattr(row, "__name__", row)
        raise SchemaError(f"the columns ({', '.join(columns)}) do not fit {name}: it takes one column")
    return [values[0] for values in rows]


def _has_named_fields(kind: type[object]) -> bool:
    return issubclass(kind, msgspec.Struct) or is_dataclass(kind) or is_typeddict(kind)
