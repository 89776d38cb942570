"""Which of the wire forms is this, and what message does it hold?

A message travels as CloudEvents 1.0 in binary mode where the broker has headers, as CloudEvents in structured
mode elsewhere, or as the plain envelope. Whatever arrives is recognized, whichever of the three it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec.structs import replace

from antiphon.errors import UnrecognizedMessageError
from antiphon.events.cloudevents import (
    AMQP,
    AMQP_UNDERSCORE,
    CONTENT_TYPE,
    HTTP,
    KAFKA,
    PREFIXES,
    STRUCTURED,
    from_binary,
    from_structured,
    to_binary,
    to_structured,
)
from antiphon.events.message import Message
from antiphon.events.notation import members
from antiphon.events.plain import from_plain, to_plain

__all__ = [
    "AMQP",
    "AMQP_UNDERSCORE",
    "HTTP",
    "KAFKA",
    "STRUCTURED",
    "from_binary",
    "from_plain",
    "from_structured",
    "recognize",
    "to_binary",
    "to_plain",
    "to_structured",
]

_FORMS = "CloudEvents in binary mode, CloudEvents in structured mode, or the plain envelope"


def recognize(
    headers: Mapping[str, str], body: bytes | None, *, key: str | None = None, received_at: datetime | None = None
) -> Message:
    """The message in what a broker handed over, whichever form it has; header names are compared without case.

    `key` and `received_at` are what the broker knows: they stand in for a key or a time that the message does
    not state. Raises UnrecognizedMessageError, saying what was found, when it is none of the forms or a broken one.
    """
    message = _recognize({name.lower(): value for name, value in headers.items()}, body, received_at)
    return replace(message, key=key) if key is not None and message.key is None else message


def _recognize(headers: Mapping[str, str], body: bytes | None, received_at: datetime | None) -> Message:
    media_type = headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if media_type.startswith("application/cloudevents"):
        return _declared_structured(media_type, headers, body, received_at)
    for prefix in PREFIXES:
        start = prefix.lower()
        if f"{start}specversion" in headers or f"{start}id" in headers:
            return from_binary(headers, body, prefix, received_at=received_at)
    return _by_members(headers, body, received_at)


def _declared_structured(
    media_type: str, headers: Mapping[str, str], body: bytes | None, received_at: datetime | None
) -> Message:
    if media_type != STRUCTURED:
        raise UnrecognizedMessageError(f"content type {media_type!r}: of CloudEvents formats only {STRUCTURED} is read")
    if not body:
        raise UnrecognizedMessageError(f"content type {media_type!r} with an empty body: nothing to read")
    return from_structured(body, received_at=received_at)


def _by_members(headers: Mapping[str, str], body: bytes | None, received_at: datetime | None) -> Message:
    found = f"headers: {_listed(headers)}"
    if not body:
        raise UnrecognizedMessageError(f"expected {_FORMS}; found an empty body, {found}")
    try:
        names = members(body, "body")
    except UnrecognizedMessageError as error:
        raise UnrecognizedMessageError(f"expected {_FORMS}; found {_start(body)}, {found}") from error
    if "specversion" in names:
        return from_structured(body, received_at=received_at)
    if "eventType" in names or "eventId" in names:
        return from_plain(body, received_at=received_at)
    raise UnrecognizedMessageError(f"expected {_FORMS}; found a JSON object with {_listed(names)}; {found}")


def _listed(names: Iterable[str], limit: int = 12) -> str:
    known = sorted(names)
    return ", ".join(known[:limit]) + (", ..." if len(known) > limit else "") if known else "none"


def _start(body: bytes, limit: int = 40) -> str:
    return f"{len(body)} bytes beginning {body[:limit]!r}"
