"""How `field=value` on the command line becomes an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec

from antiphon.errors import SchemaError, UsageError
from antiphon.events.declare import declaration_of
from antiphon.events.fields import Form, form_of
from antiphon.schemas.codec import codec_for

Given = dict[str, object]


def read_fields(written: Sequence[str]) -> Given:
    """`a=1`, `b.c=x` and `d:=[1]` as nested values; `:=` takes JSON. Raises UsageError."""
    fields: Given = {}
    for one in written:
        field = read_field(one)
        _put(fields, field.path, field.value, one)
    return fields


class Field(NamedTuple):
    """One `field=value`: where, and what; `is_text` unless it was written as JSON."""

    path: tuple[str, ...]
    value: object
    is_text: bool


def read_field(written: str) -> Field:
    """`a=1`, `b.c=x` or `d:=[1]`. Raises UsageError."""
    name, sign, value = written.partition("=")
    is_json = name.endswith(":")
    path = tuple(name.removesuffix(":").split("."))
    if not sign or not all(path):
        raise UsageError(f"{written!r}: write field=value, or field:=JSON")
    return Field(path, _json(written, value) if is_json else value, not is_json)


def _json(one: str, value: str) -> object:
    try:
        decoded: object = msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise UsageError(f"{one!r}: what follows := is no JSON: {error}") from error
    return decoded


def _put(fields: Given, path: Sequence[str], value: object, one: str) -> None:
    for name in path[:-1]:
        inner = fields.setdefault(name, Given())
        if not isinstance(inner, dict):
            raise UsageError(f"{one!r}: {name!r} was given a value before")
        fields = cast("Given", inner)
    if path[-1] in fields:
        raise UsageError(f"{one!r}: {path[-1]!r} is given twice")
    fields[path[-1]] = value


def build_event(cls: type, given: Given) -> object:
    """The event of these fields, texts converted to the declared types. Raises UsageError naming the field."""
    name = declaration_of(cls).name
    form = form_of(cls)
    known = _names(cls)
    unknown = [field for field in given if field not in known]
    if unknown:
        raise UsageError(f"{name} has no field {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    try:
        if form is Form.PYDANTIC:
            return cast("object", codec_for(cls).decode(msgspec.json.encode(given)))
        return cast("object", msgspec.convert(given, cls, strict=False))
    except (ValueError, TypeError, SchemaError) as error:
        raise UsageError(f"{name}: {_in_words(error)}; its fields are {', '.join(known)}") from error


def _names(cls: type) -> list[str]:
    """The fields as they are called on the wire."""
    schema = codec_for(cls).json_schema()
    properties = schema.get("properties")
    return list(cast("Given", properties)) if isinstance(properties, dict) else []


def _in_words(error: Exception) -> str:
    return " ".join(str(error).replace(" - at `$.", " - in `").split())
