"""How does a message become a row of the log, and a row a message?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import msgpack

from antiphon.events.message import Message, Outgoing

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[str, str, str | None, bytes | None, bytes]
"""Id, type, key, data, and the rest of the envelope."""

_encode = msgpack.Encoder().encode
# Each rest is an array: the message's time, then its fields after `key`; what is missing at the end has its default.
# The rests of a batch, put one after another behind a header, are an array of arrays: one call reads them all.
_decode: Callable[[bytes], list[list[Any]]] = msgpack.Decoder(list).decode
_ARRAY_OF_UP_TO_4_BILLION = b"\xdd"


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970. Raises TypeError for a moment without a time zone."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(microseconds_since_1970: int) -> datetime:
    """The moment, in UTC."""
    return EPOCH + timedelta(0, 0, microseconds_since_1970)


def pack_rest(message: Message) -> bytes:
    """What a message carries beside the columns of its own. Raises TypeError, ValueError or OverflowError."""
    if message.time.tzinfo is None:
        raise ValueError(f"its time {message.time} has no time zone: give it in UTC")
    common = (
        message.time,
        message.source,
        message.schema_version,
        message.content_type,
        message.correlation_id,
        message.causation_id,
    )
    if (
        message.traceparent is None
        and message.deadline is None
        and message.tenant is None
        and message.tracestate is None
        and not message.extensions
    ):
        return _encode(common)
    return _encode((*common, *_seldom(message)))


def _seldom(message: Message) -> tuple[object, ...]:
    if message.deadline is not None and message.deadline.tzinfo is None:
        raise ValueError(f"its deadline {message.deadline} has no time zone: give it in UTC")
    return (message.traceparent, message.tracestate, message.deadline, message.tenant, dict(message.extensions))


def unpack(rows: Sequence[Row]) -> list[Message]:
    """The messages of rows, in their order."""
    header = _ARRAY_OF_UP_TO_4_BILLION + len(rows).to_bytes(4, "big")
    rests = _decode(header + b"".join([row[4] for row in rows]))
    return [
        # The time is taken off the front first; what is left stands in the order of the fields.
        Message(id, type, rest.pop(0), data, key, *rest)
        for (id, type, key, data, _), rest in zip(rows, rests, strict=True)
    ]


def objection(outgoing: Outgoing, max_message_bytes: int) -> str | None:
    """Why the log cannot take this message, or None when it can."""
    message = outgoing.message
    if message.data is not None and len(message.data) > max_message_bytes:
        return f"its data has {len(message.data)} bytes, the limit is {max_message_bytes}"
    try:
        pack_rest(message)
        check_texts([outgoing])
    except (TypeError, ValueError, OverflowError) as error:
        return str(error)
    return None


def check_texts(outgoing: Sequence[Outgoing]) -> None:
    """Raise UnicodeEncodeError, which is a ValueError, where a name, id or key holds what no text of a file can."""
    "".join([f"{topic}{message.id}{message.type}{message.key}" for topic, message in outgoing]).encode()
