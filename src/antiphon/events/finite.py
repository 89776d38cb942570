"""Which number of an event would be lost on the way, since JSON has no word for it?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, cast

import msgspec

from antiphon.errors import EncodeError
from antiphon.events.fields import Form, form_of

NULL = b"null"
"""What serializers write for `nan` and `inf`: data without it has lost nothing."""

_HOLDING = ("FloatType", "AnyType")


class _Serializer(Protocol):
    def to_python(self, value: object, /) -> object: ...


def may_lose_numbers(cls: type[object]) -> bool:
    """Whether an event of this class can hold a number that JSON has no word for."""
    if form_of(cls) is Form.PYDANTIC:
        # Those who have chosen a word of their own for such numbers lose nothing.
        return _pydantic_config(cls).get("ser_json_inf_nan", "null") == "null"
    import msgspec.inspect as inspection

    try:
        return _holds_floats(inspection.type_info(cls), set())
    except (NameError, TypeError):  # its annotations name what cannot be found from here: then it is looked at
        return True


def require_finite(event: object, name: str) -> None:
    """Raise EncodeError, naming the field, when the event `name` holds `nan` or an infinity at any depth."""
    values: object = event
    if form_of(type(event)) is Form.PYDANTIC:
        # As it is written: what is left out, or becomes something else on the way, is its own affair.
        values = cast("_Serializer", getattr(type(event), "__pydantic_serializer__", None)).to_python(event)
    for path, value in _numbers(values):
        if not math.isfinite(value):
            raise EncodeError(
                f"{name!r} cannot be written: its field {path} is {value}, for which JSON has no word, so that it "
                "would arrive as null: give a finite number, or None where the field allows that"
            )


def _pydantic_config(cls: type[object]) -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    return found


def _holds_floats(node: object, seen: set[object]) -> bool:
    """Walk one inspected type; `seen` holds the classes above it, since types may refer to themselves."""
    if type(node).__name__ in _HOLDING:
        return True
    owner: type[object] | None = getattr(node, "cls", None)
    if owner in seen:
        return False
    if owner is not None:
        seen.add(owner)
    inner = [field.type for field in getattr(node, "fields", ())]
    inner += [*getattr(node, "types", ()), *getattr(node, "item_types", ())]
    inner += [getattr(node, part, None) for part in ("item_type", "value_type", "key_type", "type")]
    return any(_holds_floats(each, seen) for each in inner if each is not None)


def _numbers(event: object) -> Iterator[tuple[str, float]]:
    """The floating numbers in it, each with the way to it, as `lines[2].price`."""
    left: list[tuple[str, object]] = [("", event)]
    while left:
        path, value = left.pop()
        if isinstance(value, float):
            yield path, value
        else:
            left.extend(_parts(path, value))


def _parts(path: str, value: object) -> Iterable[tuple[str, object]]:
    """What is in a value, under its way; nothing for one that holds no others."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return ()
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        # The event itself, if it is a map, is a model that was taken apart.
        within = [(f"{path}[{key!r}]" if path else str(key), inner) for key, inner in pairs.items()]
        return [*within, *((f"{path} (key)", key) for key in pairs)]
    if isinstance(value, Sequence | AbstractSet):
        items = cast("Iterable[object]", value)
        return [(f"{path}[{number}]", inner) for number, inner in enumerate(items)]
    return [(f"{path}.{field}".lstrip("."), getattr(value, field, None)) for field in _field_names(value)]


def _field_names(value: object) -> Iterable[str]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return [each.name for each in getattr(type(value), "__attrs_attrs__", ())]
