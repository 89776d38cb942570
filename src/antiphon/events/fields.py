"""Which fields a declared class has, which of them is its key, and can the serializer carry them all?"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, StrEnum
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

T = TypeVar("T")


class KeyMark:
    """What `Key` leaves in an annotation."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Key"


KEY_MARK = KeyMark()
Key: TypeAlias = Annotated[T, KEY_MARK]
"""Marks the field that order is kept for: `order_id: Key[str]`. To a type checker it is the type inside."""

KEY_TYPES = (str, int, UUID, Enum)
_KEY_IN_TEXT = re.compile(r"\bKey\s*\[")


class Form(StrEnum):
    """The kinds of class that can be declared as an event."""

    STRUCT = "struct"
    DATACLASS = "dataclass"
    PYDANTIC = "Pydantic model"


class Unresolved(NamedTuple):
    """An annotation that names something not defined yet."""

    text: str


class FieldError(Exception):
    """A field that cannot be declared like this; `mend` says what to write instead."""

    def __init__(self, problem: str, mend: str) -> None:
        self.problem, self.mend = problem, mend
        super().__init__(f"{problem}: {mend}")


def form_of(cls: type[object]) -> Form | None:
    """Which form of event class this is; None when it is none of them. Imports no Pydantic."""
    if issubclass(cls, msgspec.Struct):
        return Form.STRUCT
    if hasattr(cls, "__pydantic_validator__"):
        return Form.PYDANTIC
    # A plain subclass inherits the mark of its dataclass, but has not become one itself.
    return Form.DATACLASS if "__dataclass_fields__" in cls.__dict__ else None


def field_names(cls: type[object], form: Form) -> tuple[str, ...]:
    """The names of the fields as written in Python, inherited ones first."""
    if form is Form.DATACLASS:
        return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]  # form says it is one
    if form is Form.PYDANTIC:
        return tuple(getattr(cls, "__pydantic_fields__", ()))
    return tuple(getattr(cls, "__struct_fields__", ()))


def key_field(cls: type[object], names: Iterable[str]) -> str | None:
    """The field marked with `Key`, or None. Raises FieldError when the mark cannot be used where it stands."""
    annotations = dict(_annotations(cls))
    keys = [name for name in names if name in annotations and _is_key(name, annotations[name])]
    if len(keys) > 1:
        raise FieldError(
            f"the fields {' and '.join(keys)} are both marked as Key", "an event has one key; keep one mark"
        )
    return keys[0] if keys else None


def check_serializable(cls: type[object]) -> None:
    """Raise FieldError when the serializer cannot write and read every field, at any depth.

    Annotations that name something not defined yet are left for the codec.
    """
    import msgspec.inspect as inspection

    try:
        msgspec.json.Decoder(cls)
        inspected = inspection.type_info(cls)
    except NameError:
        return
    except (TypeError, ValueError) as error:
        raise FieldError(f"the serializer refuses it ({error})", "change the field's type") from error
    _check_type(cls.__name__, inspected, set())


def _annotations(cls: type[object]) -> Iterator[tuple[str, object]]:
    for owner in reversed(cls.__mro__):
        for name, annotation in _own_annotations(owner).items():
            yield name, _resolve(name, annotation, owner)


def _own_annotations(cls: type[object]) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _resolve(name: str, annotation: object, owner: type[object]) -> object:
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    names = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
    try:
        return get_type_hints(holder, names, dict(vars(owner)), include_extras=True)[name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Unresolved(str(annotation))


def _is_key(name: str, hint: object) -> bool:
    if isinstance(hint, Unresolved):
        if _KEY_IN_TEXT.search(hint.text):
            raise FieldError(
                f"the type of key {name} ({hint.text}) is not defined yet", "define or import it above the event"
            )
        return False
    if get_origin(hint) is Annotated and any(mark is KEY_MARK for mark in get_args(hint)[1:]):
        _check_key_type(name, get_args(hint)[0])
        return True
    if _holds_key(hint):
        raise FieldError(
            f"Key is inside the type of {name}", f"mark the whole field, and with a plain type: {name}: Key[str]"
        )
    return False


def _holds_key(hint: object) -> bool:
    return any(argument is KEY_MARK or _holds_key(argument) for argument in get_args(hint))


def _check_key_type(name: str, hint: object) -> None:
    members = _members(hint)
    if type(None) in members or msgspec.UnsetType in members:
        raise FieldError(
            f"key {name} may be missing", f"make it required ({name}: Key[str]), or mark another field, or none"
        )
    for member in members:
        if not _can_be_key(member):
            raise FieldError(
                f"key {name} is of type {_named(member)}", "a key is a str, an int, a UUID or an enum; use one of them"
            )


def _members(hint: object) -> tuple[object, ...]:
    """The alternatives of a type, looking through Annotated, NewType and unions."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(member for part in get_args(hint) for member in _members(part))
    if get_origin(hint) is Literal:
        return tuple(value.__class__ for value in get_args(hint))
    supertype: object = getattr(hint, "__supertype__", None)
    return (hint,) if supertype is None else _members(supertype)


def _can_be_key(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, KEY_TYPES) and member is not bool


def _named(hint: object) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


_UNWRITABLE_KEYS = ("AnyType", "NoneType", "BoolType")
_CONTAINERS = (
    "StructType", "DataclassType", "TypedDictType", "NamedTupleType", "DictType",
    "ListType", "TupleType", "VarTupleType", "SetType", "FrozenSetType",
)  # fmt: skip


def _check_type(path: str, node: msgspec.inspect.Type, seen: set[object]) -> None:
    """Walk one inspected type; `seen` holds the classes above it, since types may refer to themselves."""
    kind = type(node).__name__
    if kind in ("CustomType", "ExtType"):
        found = _named(getattr(node, "cls", msgspec.msgpack.Ext))
        raise FieldError(
            f"{path} is of type {found}, which the serializer cannot write",
            "use a type it knows (str, int, Decimal, datetime, UUID, enum, list, dict, struct, dataclass), "
            "or turn the value into one",
        )
    owner: type[object] | None = getattr(node, "cls", None)
    if owner in seen:
        return
    if getattr(node, "forbid_unknown_fields", False):
        raise FieldError(
            f"{path} forbids unknown fields, so it could not read what a newer version adds",
            f"take forbid_unknown_fields=True away from {_named(owner)}",
        )
    if owner is not None:
        seen.add(owner)
    for part, inner in _parts(path, node):
        _check_type(part, inner, seen)


def _parts(path: str, node: msgspec.inspect.Type) -> Iterator[tuple[str, msgspec.inspect.Type]]:
    for field in getattr(node, "fields", ()):
        yield f"{path}.{field.name}", field.type
    for inner in (*getattr(node, "types", ()), *getattr(node, "item_types", ())):
        yield path, inner
    for name in ("item_type", "value_type", "type"):
        if (inner := getattr(node, name, None)) is not None:
            yield f"{path}[]" if name != "type" else path, inner
    if (key := getattr(node, "key_type", None)) is not None:
        _check_map_key(path, key)
        yield path, key


def _check_map_key(path: str, key: msgspec.inspect.Type) -> None:
    for member in getattr(key, "types", (key,)):
        if type(member).__name__ in (*_CONTAINERS, "BoolType", "NoneType"):
            raise FieldError(f"the keys of {path} cannot be names in JSON", "use str, int, UUID or an enum as keys")
