"""How are single fields of a message's data changed, with everything else in it left as it is, to the last digit?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from antiphon.errors import DeadLetterError, SchemaError
from antiphon.events.fields import Form, form_of
from antiphon.schemas.codec import EventCodec
from antiphon.schemas.json_schema import wire_names


class FieldChange(NamedTuple):
    """A new value for one field: its path, and what JSON says, or a text that becomes the field's type."""

    path: tuple[str, ...]
    value: object
    is_text: bool = False

    @property
    def place(self) -> str:
        return ".".join(self.path)


def with_changes(data: bytes, changes: Sequence[FieldChange], codec: EventCodec[object] | None) -> bytes:
    """`data` with these fields set; texts are converted to the types that `codec` declares, where there is one.

    Raises DeadLetterError naming what is not there, or does not fit.
    """
    given = _put_all(data, changes)
    if codec is None:
        return given
    event = _read_loosely(given, codec)
    return _put_all(given, [_converted(change, event, codec) for change in changes])


def _put_all(data: bytes, changes: Sequence[FieldChange]) -> bytes:
    for change in changes:
        data = _put(data, change.path, msgspec.json.encode(change.value), change)
    return data


def _put(data: bytes, path: Sequence[str], value: bytes, change: FieldChange) -> bytes:
    """`data` with `value` at `path`; only what lies on the way there is taken apart."""
    if not path:
        return value
    if data.lstrip()[:1] == b"[":
        return _put_item(data, path, value, change)
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise DeadLetterError(f"{change.place}: there is no {path[0]!r} in {_shown(data)}: {error}") from error
    inner = members.get(path[0])
    members[path[0]] = msgspec.Raw(_put(b"{}" if inner is None else bytes(inner), path[1:], value, change))
    return msgspec.json.encode(members)


def _put_item(data: bytes, path: Sequence[str], value: bytes, change: FieldChange) -> bytes:
    items = msgspec.json.decode(data, type=list[msgspec.Raw])
    if not path[0].isdecimal() or int(path[0]) >= len(items):
        raise DeadLetterError(f"{change.place}: {path[0]!r} is no place in a list of {len(items)}, counted from 0")
    place = int(path[0])
    items[place] = msgspec.Raw(_put(bytes(items[place]), path[1:], value, change))
    return msgspec.json.encode(items)


def _shown(data: bytes) -> str:
    text = data.decode(errors="replace")
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _read_loosely(data: bytes, codec: EventCodec[object]) -> object:
    """The event in `data`, texts taken for numbers and the like."""
    cls = codec.declaration.cls
    try:
        if form_of(cls) is Form.PYDANTIC:
            return codec.decode(data)
        return msgspec.json.decode(data, type=cls, strict=False)
    except (ValueError, TypeError, SchemaError) as error:
        raise DeadLetterError(f"{codec.declaration.name} does not take that: {' '.join(str(error).split())}") from error


def _converted(change: FieldChange, event: object, codec: EventCodec[object]) -> FieldChange:
    """The change with the value that the event made of it. Raises DeadLetterError where it did not take it."""
    value = event
    for name in change.path:
        found = _members(value)
        if name not in found:
            known = ", ".join(found) or "no fields"
            raise DeadLetterError(
                f"{change.place}: {codec.declaration.name} has no {name!r} there; what is read has {known}"
            )
        value = found[name]
    return change if not change.is_text else change._replace(value=msgspec.to_builtins(value, enc_hook=str))


def _members(value: object) -> Mapping[str, object]:
    """What is inside of a value, under the names that it has in JSON."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return {str(place): each for place, each in enumerate(cast("Sequence[object]", value))}
    names = wire_names(type(value)) or dict.fromkeys(getattr(value, "__dataclass_fields__", ()))
    return {written or name: getattr(value, name) for name, written in names.items()}
