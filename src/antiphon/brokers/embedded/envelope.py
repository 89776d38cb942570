"""How does a message become a row of the log, and a row a message?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import msgpack

from antiphon.events.message import Message, Outgoing

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_encode = msgpack.Encoder().encode
# An array in the order of Message's fields after `key`; what is missing at its end has its default.
_decode: Callable[[bytes], list[Any]] = msgpack.Decoder(list).decode


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970. Raises TypeError for a moment without a time zone."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(microseconds_since_1970: int) -> datetime:
    """The moment, in UTC."""
    return EPOCH + timedelta(0, 0, microseconds_since_1970)


def pack_rest(message: Message) -> bytes | None:
    """What a message carries beside the columns of its own; None when that is nothing."""
    if (
        message.traceparent is None
        and message.deadline is None
        and message.tenant is None
        and message.tracestate is None
        and not message.extensions
    ):
        common = (
            message.source,
            message.schema_version,
            message.content_type,
            message.correlation_id,
            message.causation_id,
        )
        return None if common == _NOTHING else _encode(common)
    return _encode(
        (
            message.source,
            message.schema_version,
            message.content_type,
            message.correlation_id,
            message.causation_id,
            message.traceparent,
            message.tracestate,
            message.deadline,
            message.tenant,
            dict(message.extensions),
        )
    )


_NOTHING: Final = ("", 1, "application/json", None, None)


def unpack(id: str, type: str, key: str | None, time: int, data: bytes | None, rest: bytes | None) -> Message:
    """The message of a row."""
    at = EPOCH + timedelta(0, 0, time)
    if rest is None:
        return Message(id, type, at, data, key)
    return Message(id, type, at, data, key, *_decode(rest))


def objection(outgoing: Outgoing, max_message_bytes: int) -> str | None:
    """Why the log cannot take this message, or None when it can."""
    message = outgoing.message
    if message.data is not None and len(message.data) > max_message_bytes:
        return f"its data has {len(message.data)} bytes, the limit is {max_message_bytes}"
    for name, at in (("time", message.time), ("deadline", message.deadline)):
        if at is not None and at.tzinfo is None:
            return f"its {name} {at} has no time zone: give it in UTC"
    try:
        pack_rest(message)
    except (TypeError, ValueError, OverflowError) as error:
        return f"its envelope cannot be written: {error}"
    return None
