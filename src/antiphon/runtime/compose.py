"""How an event becomes a message: its envelope, and what it inherits from the message that caused it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from antiphon.errors import UsageError
from antiphon.events.clock import Clock
from antiphon.events.finite import NULL, may_lose_numbers, require_finite
from antiphon.events.ids import new_id, repeatable_id
from antiphon.events.message import NO_EXTENSIONS, Message, Outgoing
from antiphon.schemas.codec import EventCodec, codec_for


class _Writer:
    """What is needed of an event's codec here. Numbers that JSON has no word for are looked for where there can be any.

    Whether the values fit their types is not looked at, which would cost more than to write them.
    """

    __slots__ = ("content_type", "declaration", "write")

    def __init__(self, codec: EventCodec[object]) -> None:
        self.declaration = codec.declaration
        self.content_type = codec.content_type
        self.write: Callable[[object], bytes] = codec.write
        if may_lose_numbers(codec.declaration.cls):
            self.write = partial(_write_finite, codec)


def _write_finite(codec: EventCodec[object], event: object) -> bytes:
    data = codec.write(event)
    if data.find(NULL) >= 0:
        require_finite(event, codec.declaration.name)
    return data


def _require_event(event: object) -> None:
    """Raise UsageError for what people give in place of an event."""
    if isinstance(event, type):
        raise UsageError(f"{event.__qualname__} is a class, and no event: make one, as {event.__qualname__}(...)")
    kind = type(event)
    if issubclass(kind, list | tuple | set | frozenset | Iterator):
        raise UsageError(f"a {kind.__name__} is no event: give what is in it one by one, as *events")
    if kind.__module__ == "builtins":
        raise UsageError(f"{event!r} is no event: give an object of a class that has @event above it")


def _as_key(key: object) -> str:
    """Raise UsageError for a key that is given and no text."""
    if isinstance(key, str):
        return key
    raise UsageError(f"key={key!r}: the key of a message is a text: give key={str(key)!r}")


class Composer:
    """Makes the messages of one service. Safe to share; encoding is the only work it does."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self.now: Callable[[], datetime] = clock.now
        self._writers: dict[type, _Writer] = {}

    def _writer(self, event: object) -> _Writer:
        cls = type(event)
        writer = self._writers.get(cls)
        if writer is None:
            _require_event(event)
            writer = self._writers[cls] = _Writer(codec_for(cls))
        return writer

    def first(self, event: object, *, key: str | None = None, deadline: datetime | None = None) -> Outgoing:
        """The message of an event that nothing here caused. Raises UsageError, EncodeError."""
        writer = self._writer(event)
        declared = writer.declaration
        message = Message(
            new_id(),
            declared.name,
            self.now(),
            writer.write(event),
            declared.key_of(event) if key is None else key if type(key) is str else _as_key(key),
            self._service,
            declared.version,
            writer.content_type,
            deadline=deadline,
        )
        return Outgoing(declared.topic, message)

    def caused(
        self,
        event: object,
        cause: Message,
        handler: str,
        index: int,
        *,
        key: str | None = None,
        deadline: datetime | None = None,
    ) -> Outgoing:
        """The message of the `index`-th event that `handler` emits on `cause`; its id is the same each time.

        Its deadline is the earlier one of its own and its cause's. Raises UsageError, EncodeError.
        """
        writer = self._writers.get(type(event)) or self._writer(event)
        declared = writer.declaration
        id = repeatable_id(cause.identity, self._service, handler, index)
        message = Message(
            id,
            declared.name,
            self.now(),
            writer.write(event),
            declared.key_of(event) if key is None else key if type(key) is str else _as_key(key),
            self._service,
            declared.version,
            writer.content_type,
            cause.correlation_id or cause.id,
            cause.id,
            None if cause.traceparent is None else _child_of(cause.traceparent, id),
            cause.tracestate,
            cause.deadline if deadline is None else min(deadline, cause.deadline or deadline),
            cause.tenant,
            NO_EXTENSIONS,
        )
        return Outgoing(declared.topic, message)


def _child_of(traceparent: str, id: str) -> str:
    """A span below the cause's, named after the new message (W3C Trace Context, section 3.2)."""
    parts = traceparent.split("-")
    if len(parts) < 4:
        return traceparent
    return f"{parts[0]}-{parts[1]}-{id[-17:-13] + id[-12:]}-{parts[3]}"
