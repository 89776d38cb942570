"""How an event becomes a message: its envelope, and what it inherits from the message that caused it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from antiphon.events.clock import Clock
from antiphon.events.ids import new_id, repeatable_id
from antiphon.events.message import NO_EXTENSIONS, Message, Outgoing
from antiphon.schemas.codec import EventCodec, codec_for


class Composer:
    """Makes the messages of one service. Safe to share; encoding is the only work it does."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self.now: Callable[[], datetime] = clock.now
        self._codecs: dict[type, EventCodec[object]] = {}

    def _codec(self, event: object) -> EventCodec[object]:
        cls = type(event)
        codec = self._codecs.get(cls)
        if codec is None:
            codec = self._codecs[cls] = codec_for(cls)
        return codec

    def first(self, event: object, *, key: str | None = None, deadline: datetime | None = None) -> Outgoing:
        """The message of an event that nothing here caused."""
        codec = self._codec(event)
        declared = codec.declaration
        message = Message(
            new_id(),
            declared.name,
            self.now(),
            codec.write(event),
            declared.key_of(event) if key is None else key,
            self._service,
            declared.version,
            codec.content_type,
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

        Its deadline is the earlier one of its own and its cause's.
        """
        codec = self._codec(event)
        declared = codec.declaration
        id = repeatable_id(cause.identity, self._service, handler, index)
        message = Message(
            id,
            declared.name,
            self.now(),
            codec.write(event),
            declared.key_of(event) if key is None else key,
            self._service,
            declared.version,
            codec.content_type,
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
