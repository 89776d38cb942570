"""How does a message become the frames of a publish, and what came a delivery's message?

Attributes are headers `cloudEvents:*`, as CloudEvents over AMQP has them; numbers and booleans keep their type. Headers
that are about the queue and not about the event begin with `antiphon-`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from time import time_ns
from typing import Final
from uuid import uuid4

from msgspec.structs import replace

from antiphon.errors import SchemaError, UnrecognizedMessageError
from antiphon.events.cloudevents import UNKNOWN_SOURCE
from antiphon.events.message import ExtensionValue, Message
from antiphon.events.wire import AMQP, recognize, to_binary

ATTEMPTS: Final = "antiphon-attempts"
"""How often it was attempted before it was written anew."""
TOMBSTONE: Final = "antiphon-tombstone"
TOPIC: Final = "antiphon-topic"
PARTITION: Final = "antiphon-partition"
_LONGEST_HEADER = 128
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1
_PERSISTENT = b"\x02"
_QUEUE = frozenset({"x-delivery-count", "x-stream-offset", ATTEMPTS, TOMBSTONE, TOPIC, PARTITION})
_ATTRIBUTES = (
    "specversion", "id", "source", "type", "time", "schemaversion", "partitionkey", "correlationid", "causationid",
    "traceparent", "tracestate", "deadline", "tenant",
)  # fmt: skip
_KNOWN = frozenset(AMQP + name for name in _ATTRIBUTES)
_USUAL = _KNOWN | _QUEUE


class Positions:
    """Gives each publish a position: when, by whom, and a number. They are unlike all others."""

    def __init__(self) -> None:
        self._writer, self._numbers = uuid4().hex[:12], count()

    def take(self, amount: int) -> list[str]:
        now, writer = f"{time_ns() // 1_000_000:012x}", self._writer
        return [f"{now}-{writer}-{next(self._numbers):x}" for _ in range(amount)]


def moment_of(position: str) -> datetime | None:
    """When the message at this position was published; None for one of somebody else's."""
    if len(position) > 12 and position[12] == "-":
        try:
            return datetime.fromtimestamp(int(position[:12], 16) / 1000, UTC)
        except (ValueError, OverflowError):
            return None
    return None


class Envelope:
    """A message as the server gets it: properties as bytes, made once and checked, and the data."""

    __slots__ = ("_after_id", "_flags", "_headers", "_route", "data")

    def __init__(
        self, route: bytes, message: Message, extra: Mapping[str, str | int | bool], expires: str | None = None
    ) -> None:
        """Raises ValueError, saying what of the message cannot be written."""
        headers, content_type = _headers(message, extra)
        flags = 0x3080 | (0x8000 if content_type else 0) | (0x0100 if expires else 0)
        self._route, self.data = route, message.data or b""
        self._flags = flags.to_bytes(2, "big") + content_type
        self._headers = len(headers).to_bytes(4, "big") + headers + _PERSISTENT + (_short(expires) if expires else b"")

    def __call__(self, channel: int, most: int, message_id: str) -> bytes:
        number, data = channel.to_bytes(2, "big"), self.data
        properties = self._flags + self._headers + _short(message_id)
        head = b"\x00\x3c\x00\x00" + len(data).to_bytes(8, "big") + properties
        parts = [_frame(b"\x01", number, self._route), _frame(b"\x02", number, head)]
        parts += [_frame(b"\x03", number, data[start : start + most]) for start in range(0, len(data), most)]
        return b"".join(parts)


class Plain:
    """Bytes of our own, that are no message, as the server gets them."""

    __slots__ = ("_body", "_route")

    def __init__(self, route: bytes, body: bytes) -> None:
        self._route, self._body = route, body

    def __call__(self, channel: int, most: int, message_id: str) -> bytes:
        number, body = channel.to_bytes(2, "big"), self._body
        head = b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + b"\x10\x80" + _PERSISTENT + _short(message_id)
        parts = [_frame(b"\x01", number, self._route), _frame(b"\x02", number, head)]
        parts += [_frame(b"\x03", number, body[start : start + most]) for start in range(0, len(body), most)]
        return b"".join(parts)


def route(exchange: str, key: str, *, is_mandatory: bool = True) -> bytes:
    """The beginning of each publish to this exchange with this key."""
    return b"\x00\x3c\x00\x28\x00\x00" + _short(exchange) + _short(key) + bytes([is_mandatory])


def objection(message: Message, limit: int) -> str | None:
    """Why the server cannot take it, or None when it can."""
    if message.data is not None and len(message.data) > limit:
        return f"its data has {len(message.data)} bytes, the limit is {limit} (max_message_bytes of the URL)"
    try:
        _headers(message, {})
    except ValueError as error:
        return str(error)
    return None


def _frame(kind: bytes, channel: bytes, payload: bytes) -> bytes:
    return b"%b%b%b%b\xce" % (kind, channel, len(payload).to_bytes(4, "big"), payload)


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise ValueError(f"{text[:40]!r}... has {len(raw)} bytes where AMQP takes 255")
    return bytes([len(raw)]) + raw


def _named(name: str, prefix: str = "") -> bytes:
    raw = (prefix + name).encode()
    if len(raw) > _LONGEST_HEADER:
        raise ValueError(f"the name of its extension {name[:40]!r}... has {len(raw)} bytes where AMQP takes 128")
    return bytes([len(raw)]) + raw


def _text(name: bytes, value: str) -> bytes:
    raw = value.encode()
    return b"%bS%b%b" % (name, len(raw).to_bytes(4, "big"), raw)


def _typed(name: bytes, value: str | int | bool) -> bytes:
    if isinstance(value, bool):
        return b"%bt%b" % (name, bytes([value]))
    if isinstance(value, str):
        return _text(name, value)
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"{value} is beyond what AMQP takes as a number")
    return b"%bl%b" % (name, value.to_bytes(8, "big", signed=True))


_NAMES: Final = {name: _named(name) for name in _USUAL}
_VERSION: Final = _text(_NAMES[AMQP + "specversion"], "1.0")


def _headers(message: Message, extra: Mapping[str, str | int | bool]) -> tuple[bytes, bytes]:
    """The table of headers, and the content type as a property."""
    attributes, _ = to_binary(message, AMQP)
    content_type = attributes.pop("content-type", None)
    parts = [_VERSION]
    typed = {AMQP + name: value for name, value in message.extensions.items() if not isinstance(value, str)}
    for name, value in attributes.items():
        if name == AMQP + "specversion":
            continue
        known = _NAMES.get(name)
        parts.append(_typed(known or _named(name), typed.get(name, value)))
    parts += [_typed(_NAMES.get(name) or _named(name), value) for name, value in extra.items()]
    if message.data is None:
        parts.append(_typed(_NAMES[TOMBSTONE], True))
    return b"".join(parts), b"" if content_type is None else _short(content_type)


def read(
    headers: Mapping[str, object], body: bytes, content_type: str | None, position: str, at: float | None
) -> tuple[Message, SchemaError | None]:
    """The message in what came, and what is wrong with it where it is none."""
    data = None if not body and headers.get(TOMBSTONE) else body
    try:
        if _USUAL.issuperset(headers) and (plain := _usual(headers, data, content_type)) is not None:
            return plain, None
        return _recognized(headers, data, content_type, _arrival(position, at)), None
    except UnrecognizedMessageError as error:
        arrival = _arrival(position, at) or datetime.now(UTC)
        return Message(id=position, type="", time=arrival, data=body, content_type=content_type), error


def _arrival(position: str, at: float | None) -> datetime | None:
    return moment_of(position) if at is None else datetime.fromtimestamp(at, UTC)


def _usual(headers: Mapping[str, object], data: bytes | None, content_type: str | None) -> Message | None:
    """The message as we write them, read without asking what can be wrong; None where something is."""
    texts: dict[str, str] = {name: value for name, value in headers.items() if type(value) is str}
    take = texts.get
    try:
        id, kind, source, deadline = texts[_ID], texts[_TYPE], texts[_SOURCE], take(_DEADLINE)
        if (
            texts[_SPEC] != "1.0"
            or not (id and kind and source)
            or not _QUEUE.issuperset(headers.keys() - texts.keys())
        ):
            return None
        return Message(
            id,
            kind,
            _utc(texts[_TIME]),
            data,
            take(_KEY),
            "" if source == UNKNOWN_SOURCE else source,
            int(texts[_SCHEMA]),
            content_type,
            take(_CORRELATION),
            take(_CAUSATION),
            take(_PARENT),
            take(_STATE),
            None if deadline is None else _utc(deadline),
            take(_TENANT),
        )
    except (KeyError, ValueError):
        return None


(_SPEC, _ID, _SOURCE, _TYPE, _TIME, _SCHEMA, _KEY, _CORRELATION, _CAUSATION, _PARENT, _STATE, _DEADLINE, _TENANT) = (
    AMQP + name for name in _ATTRIBUTES
)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not UTC:
        raise ValueError("not in UTC")
    return moment


def _recognized(
    headers: Mapping[str, object], data: bytes | None, content_type: str | None, arrival: datetime | None
) -> Message:
    texts = {name: _as_text(value) for name, value in headers.items() if name not in _QUEUE}
    if content_type is not None:
        texts["content-type"] = content_type
    message = recognize({name: text for name, text in texts.items() if text is not None}, data, received_at=arrival)
    if message.extensions:
        return replace(message, extensions={**message.extensions, **dict(_typed_extensions(headers, message))})
    return message


def _typed_extensions(headers: Mapping[str, object], message: Message) -> Iterator[tuple[str, ExtensionValue]]:
    """Those that were no text on their way."""
    for name, value in headers.items():
        attribute = name[len(AMQP) :].lower()
        if isinstance(value, bool | int) and attribute in message.extensions:
            yield attribute, value


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, int | float) else None
