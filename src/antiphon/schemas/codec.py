"""How a declared event becomes bytes, and how bytes of whichever version become the event the code declares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import msgspec

from antiphon.errors import DeclarationError, DecodeError, EncodeError, NewerVersionError
from antiphon.events.declare import Declaration, declaration_of
from antiphon.events.fields import FieldError, Form, check_serializable, form_of
from antiphon.events.message import Message
from antiphon.events.notation import is_json
from antiphon.schemas.json_schema import JsonSchema, annotated, struct_schema

T = TypeVar("T")

CONTENT_TYPE = "application/json"


class Serializer(NamedTuple, Generic[T]):
    """What a library does for a class. `encode` and `decode` raise its own errors, `words` says them in one line."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    schema: Callable[[], JsonSchema]
    words: Callable[[Exception], str]


class EventCodec(Generic[T]):
    """Writes and reads one declared event.

    `encode` and `decode` are the serializer's own callables, for the hot path: they raise its errors, and check
    neither version nor content type. `read` and `write` check, and raise ours. Safe to share between threads.
    """

    __slots__ = ("_schema", "_words", "content_type", "declaration", "decode", "encode")

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]

    def __init__(self, declaration: Declaration, serializer: Serializer[T]) -> None:
        self.declaration = declaration
        self.content_type = CONTENT_TYPE
        self.encode, self.decode, self._schema, self._words = serializer

    def write(self, event: T) -> bytes:
        """The event as bytes. Raises EncodeError when a field holds what its type does not allow to be written.

        JSON has no word for `nan` and infinities: here they become null. Whatever publishes or stages an event refuses
        them with EncodeError, unless a Pydantic model has chosen a word of its own for them.
        """
        try:
            return self.encode(event)
        except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
            raise EncodeError(f"{self.declaration.name!r} cannot be written as {self.content_type}: {error}") from error

    def read(self, message: Message, *, accept_newer: bool = False) -> T:
        """The event in `message`; fields that the code does not know are ignored.

        Raises NewerVersionError when the message is newer than the declaration (unless `accept_newer`), and
        DecodeError, naming both versions, when it is of another type, has no data, or does not fit.
        """
        self._check(message, accept_newer=accept_newer)
        if message.data is None:
            raise self.explain(message, "it has no data (a tombstone: the entity of its key is gone)")
        try:
            return self.decode(message.data)
        except Exception as error:  # the class's own checks may raise anything
            raise self.explain(message, error) from error

    def explain(self, message: Message, error: Exception | str) -> DecodeError:
        """What `decode` raised, or a reason, as an error that names the message and both versions."""
        declared = self.declaration
        reason = error if isinstance(error, str) else self._words(error)
        return DecodeError(message.id, declared.name, message.schema_version, declared.version, reason)

    def json_schema(self) -> JsonSchema:
        """The JSON Schema (draft 2020-12) of the event's data, with the declaration in `x-` keywords."""
        return annotated(self._schema(), self.declaration)

    def _check(self, message: Message, *, accept_newer: bool) -> None:
        declared = self.declaration
        if message.type != declared.name:
            raise self.explain(message, f"its type is {message.type!r}")
        if message.schema_version > declared.version and not accept_newer:
            raise NewerVersionError(message.id, declared.name, message.schema_version, declared.version)
        if message.content_type is not None and not is_json(message.content_type):
            raise self.explain(message, f"its content type is {message.content_type!r}, expected {self.content_type}")

    def __repr__(self) -> str:
        return f"EventCodec({self.declaration.name!r}, version {self.declaration.version})"


def codec_for(cls: type[T]) -> EventCodec[T]:
    """The codec of a declared event. Raises DeclarationError when it is not declared or its types cannot be resolved.

    It compiles the class, so make it once and keep it.
    """
    declaration = declaration_of(cls)
    serializer = _serializer(cls)
    _check_examples(declaration, serializer)
    return EventCodec(declaration, serializer)


def _serializer(cls: type[T]) -> Serializer[T]:
    if form_of(cls) is Form.PYDANTIC:
        return _pydantic_serializer(cls)
    try:
        decoder = msgspec.json.Decoder(cls)
        check_serializable(cls)  # again, since at declaration a field may have named what was defined later
    except NameError as error:
        raise _unresolved(cls, error) from error
    except FieldError as error:
        raise DeclarationError(f"event {cls.__qualname__} in {cls.__module__}: {error}") from error
    return Serializer(msgspec.json.Encoder().encode, decoder.decode, partial(struct_schema, cls), _in_words)


def _pydantic_serializer(cls: type[T]) -> Serializer[T]:
    try:
        from antiphon.schemas import pydantic
    except ImportError as error:
        raise DeclarationError(
            f"event {cls.__qualname__} in {cls.__module__}: it is a Pydantic model, and Pydantic 2 cannot be "
            f"imported ({error}): pip install 'antiphon[pydantic]'"
        ) from error
    adapter = pydantic.adapter_of(cls)
    return Serializer(
        partial(adapter.dump_json, by_alias=True),
        adapter.validate_json,
        partial(pydantic.model_schema, adapter),
        pydantic.in_words,
    )


def _unresolved(cls: type[object], error: NameError) -> DeclarationError:
    """What to raise when a field's type names something that does not exist, even now."""
    return DeclarationError(
        f"event {cls.__qualname__} in {cls.__module__}: a field's type cannot be resolved ({error}): define or import "
        "the name at the top of that module, outside functions and outside `if TYPE_CHECKING`"
    )


def _check_examples(declaration: Declaration, serializer: Serializer[T]) -> None:
    for number, example in enumerate(declaration.examples, start=1):
        try:
            serializer.decode(msgspec.json.encode(example))
        except Exception as error:
            raise DeclarationError(
                f"event {declaration.cls.__qualname__} in {declaration.cls.__module__}: its example {number} does not "
                f"fit its fields ({serializer.words(error)}): mend the example"
            ) from error


def _in_words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error) or type(error).__name__
