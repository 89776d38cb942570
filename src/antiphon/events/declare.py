"""How a class becomes an event: its name on the wire, its version, its topic, its key and its meaning."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import TypeVar

from msgspec import Struct

from antiphon.errors import DeclarationError, EncodeError
from antiphon.events.fields import FieldError, Form, Key, check_serializable, field_names, form_of, key_field

__all__ = ["Declaration", "EventKind", "Key", "declaration_of", "event"]

T = TypeVar("T")

_ATTRIBUTE = "__antiphon_event__"
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,248}")
_NAME = re.compile(r"\w[\w.:/-]{0,254}")
_LARGEST_VERSION = 2**31 - 1  # what CloudEvents allows an integer to be


class EventKind(StrEnum):
    """What an event carries, which decides what a consumer can do with it alone."""

    NOTIFICATION = "notification"
    """Ids only; the consumer fetches the rest."""
    STATE_TRANSFER = "state_transfer"
    """All that consumers need of an entity; a consumer may keep a local replica."""
    DOMAIN = "domain"
    """Something that happened, in the words of the business."""
    CHANGE = "change"
    """A row before and after it was changed."""


class Declaration(Struct, frozen=True):
    """What `@event` says of a class. `key_field`, `personal` are names of its fields as written in Python.

    `examples` are events as they are in JSON, before encoding.
    """

    cls: type[object]
    name: str
    topic: str
    version: int
    kind: EventKind = EventKind.DOMAIN
    key_field: str | None = None
    owner: str | None = None
    description: str | None = None
    personal: tuple[str, ...] = ()
    examples: tuple[Mapping[str, object], ...] = ()

    def key_of(self, event: object) -> str | None:
        """The event's key as text, None when the class marks none. Raises EncodeError when the key is None."""
        if self.key_field is None:
            return None
        value = getattr(event, self.key_field)
        return value if type(value) is str else self._key_text(value)

    def _key_text(self, value: object) -> str:
        if isinstance(value, Enum):
            value = value.value
        if value is None:
            raise EncodeError(f"{self.name!r}: its key {self.key_field} is None, so its place in order is unknown")
        return str(value)


def event(
    topic: str = "",
    *,
    version: int = 1,
    name: str | None = None,
    kind: EventKind = EventKind.DOMAIN,
    owner: str | None = None,
    description: str | None = None,
    personal: Sequence[str] = (),
    examples: Sequence[Mapping[str, object]] = (),
) -> Callable[[type[T]], type[T]]:
    """Declare a msgspec Struct, a dataclass or a Pydantic model as an event; the class itself stays as it is.

    `name` is what it is called on the wire (the class's own name unless given), `version` counts changes of its
    fields, `description` is its meaning (the docstring unless given), `personal` names the fields that hold
    personal data, `examples` are events as they look in JSON. Raises DeclarationError, saying how to mend it.
    """
    bare = _class_or_none(topic)
    if bare is not None:
        raise _refused(bare, "@event stands there without a topic", f'write @event(topic="{_guess(bare)}")')

    def declare(cls: type[T]) -> type[T]:
        form = _form(cls)
        _check_words(cls, topic, version, name)
        fields = field_names(cls, form)
        declaration = Declaration(
            cls=cls,
            name=cls.__name__ if name is None else name,
            topic=topic,
            version=version,
            kind=_kind(cls, kind),
            key_field=_key(cls, form, fields),
            owner=owner,
            description=_own_docstring(cls) if description is None else description,
            personal=_personal(cls, personal, fields),
            examples=tuple(examples),
        )
        setattr(cls, _ATTRIBUTE, declaration)
        return cls

    return declare


def declaration_of(cls: type[object]) -> Declaration:
    """What `@event` said of this very class; a subclass inherits nothing. Raises DeclarationError without one."""
    if _class_or_none(cls) is None:
        raise DeclarationError(f"{cls!r} is no class: pass the event's class, not one event")
    declaration = cls.__dict__.get(_ATTRIBUTE)
    if isinstance(declaration, Declaration):
        return declaration
    parent = next((base for base in cls.__mro__[1:] if _ATTRIBUTE in base.__dict__), None)
    if parent is None:
        raise _refused(cls, "it is not declared as an event", f'put @event(topic="{_guess(cls)}") above the class')
    raise _refused(
        cls,
        f"it is not declared as an event; its parent {parent.__qualname__} is, but declarations are not inherited",
        f'put @event(topic="{parent.__dict__[_ATTRIBUTE].topic}") above this class, too',
    )


def _class_or_none(value: object) -> type[object] | None:
    """Callers without a type checker pass anything."""
    return value if isinstance(value, type) else None


def _form(cls: type[object]) -> Form:
    if _class_or_none(cls) is None:
        raise DeclarationError(f"@event stands above {cls!r}, which is no class: put it above the event's class")
    form = form_of(cls)
    if form is None:
        raise _refused(cls, _why_unsupported(cls), _how_to_support(cls))
    return form


def _why_unsupported(cls: type[object]) -> str:
    if hasattr(cls, "__fields__") and hasattr(cls, "__config__"):
        return "it is a model of Pydantic 1"
    return "it is no msgspec Struct, dataclass or Pydantic model"


def _how_to_support(cls: type[object]) -> str:
    if hasattr(cls, "__fields__") and hasattr(cls, "__config__"):
        return "derive it from pydantic.BaseModel of Pydantic 2 (pip install 'antiphon[pydantic]')"
    return f"write class {cls.__name__}(Struct, frozen=True), or put @dataclass below @event"


def _check_words(cls: type[object], topic: str, version: int, name: str | None) -> None:
    if not topic:
        raise _refused(cls, "it has no topic", f'write @event(topic="{_guess(cls)}")')
    if not _TOPIC.fullmatch(topic):
        raise _refused(
            cls,
            f"its topic {topic!r} cannot be used on every broker",
            "a topic begins with a letter or digit and has at most 249 letters, digits, '.', '_' and '-' (ASCII)",
        )
    wire_name = cls.__name__ if name is None else name
    if not _NAME.fullmatch(wire_name):
        raise _refused(
            cls,
            f"its name {wire_name!r} cannot be used on the wire",
            "a name begins with a letter or digit and has at most 255 letters, digits, '_', '.', ':', '/' and '-'",
        )
    if type(version) is not int or not 1 <= version <= _LARGEST_VERSION:
        raise _refused(cls, f"its version is {version!r}", "versions are whole numbers, counted from 1")


def _kind(cls: type[object], kind: EventKind) -> EventKind:
    try:
        return EventKind(kind)
    except ValueError as error:
        known = ", ".join(f"EventKind.{member.name}" for member in EventKind)
        raise _refused(cls, f"its kind is {kind!r}", f"use one of {known}") from error


def _key(cls: type[object], form: Form, fields: Sequence[str]) -> str | None:
    try:
        key = key_field(cls, fields)
        if form is Form.PYDANTIC:
            _check_tolerant(cls)
        else:
            check_serializable(cls)
    except FieldError as found:
        raise _refused(cls, found.problem, found.mend) from found.__cause__
    return key


def _check_tolerant(cls: type[object]) -> None:
    config: Mapping[str, object] = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    if config.get("extra") == "forbid":
        raise FieldError(
            "it forbids unknown fields, so it could not read what a newer version adds",
            'take extra="forbid" out of its model_config',
        )


def _personal(cls: type[object], personal: Sequence[str], fields: Sequence[str]) -> tuple[str, ...]:
    names = (personal,) if isinstance(personal, str) else tuple(personal)
    for name in names:
        if name not in fields:
            near = _nearest(name, fields)
            raise _refused(
                cls, f"personal names {name!r}, which is no field of it", f"{near}; it has {', '.join(fields)}"
            )
    return names


def _nearest(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches  # only after a mistake: it would slow every start

    close = get_close_matches(name, names, n=1)
    return f"write {close[0]!r}" if close else "name one of its fields"


def _own_docstring(cls: type[object]) -> str | None:
    text = cls.__dict__.get("__doc__")
    # A dataclass without a docstring is given its signature as one.
    if not isinstance(text, str) or text.startswith(f"{cls.__name__}("):
        return None
    return inspect.cleandoc(text) or None


def _guess(cls: type[object]) -> str:
    """A topic to show in an error: the first word of the class's name."""
    words = re.findall(r"[A-Z]?[a-z0-9]+", cls.__name__)
    return words[0].lower() + "s" if words else "orders"


def _refused(cls: type[object], problem: str, mend: str) -> DeclarationError:
    return DeclarationError(f"event {cls.__qualname__} in {cls.__module__}: {problem}: {mend}")
