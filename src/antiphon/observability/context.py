"""What is being handled right now: for log lines, also the users' own, and for traces."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct

from antiphon.events.message import Message


class Scope(Struct, frozen=True):
    """Whose code runs. One for each handler, made at start."""

    service: str
    handler: str | None = None


Handling = tuple[Scope, Message | None, int]
"""The scope, the message in hand, and which attempt at it this is."""

_current: ContextVar[Handling | None] = ContextVar("antiphon_handling", default=None)

enter = _current.set
"""Say what this task handles from now on. The next call replaces it; a task's end forgets it.

Bound straight to the variable because it runs once for each message.
"""


@contextmanager
def about(scope: Scope, message: Message, attempt: int) -> Generator[None, None, None]:
    """Speak of another message for a while, such as one of a batch whose handlers have run."""
    token = _current.set((scope, message, attempt))
    try:
        yield
    finally:
        _current.reset(token)


def leave() -> None:
    """Say that this task handles nothing now. Twice is safe."""
    _current.set(None)


def current() -> Handling | None:
    """What this task handles, or None outside of handlers."""
    return _current.get()


def current_fields() -> dict[str, str | int]:
    """The same as fields of a log line: service, handler, message_id, correlation_id, attempt. Never the data."""
    handling = _current.get()
    if handling is None:
        return {}
    scope, message, attempt = handling
    fields: dict[str, str | int] = {"service": scope.service}
    if scope.handler is not None:
        fields["handler"] = scope.handler
    if message is not None:
        fields.update(message_id=message.id, correlation_id=message.correlation_id or message.id, attempt=attempt)
    return fields
