"""How a message is written as the plain JSON envelope that many teams use, and what is understood of theirs."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from antiphon.errors import EncodeError
from antiphon.events.message import NO_EXTENSIONS, ExtensionValue, Message
from antiphon.events.notation import (
    JSON,
    embed,
    extension,
    extracted,
    from_base64,
    members,
    read_text,
    read_time,
    read_version,
    required,
    to_base64,
    value_of,
    write_time,
)

_FORM = "plain envelope"
_KNOWN = frozenset(
    {"eventType", "eventId", "timestamp", "schemaVersion", "traceContext", "data", "dataBase64", "contentType",
     "source", "key", "correlationId", "causationId", "deadline", "tenant", "extensions"}
)  # fmt: skip
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = "01"
_PARENT = "parentspanid"
"""The extension that holds `parentSpanId`, for which a Message has no field."""
_json = msgspec.json.Encoder()
_NOTHING: dict[str, msgspec.Raw] = {}


def to_plain(message: Message) -> bytes:
    """One JSON object that holds all of the message; what is empty or usual is left out."""
    fields: dict[str, object] = {
        "eventType": message.type,
        "eventId": message.id,
        "timestamp": write_time(message.time),
        "schemaVersion": message.schema_version,
        "source": message.source or None,
        "key": message.key,
        "correlationId": message.correlation_id,
        "causationId": message.causation_id,
        "deadline": None if message.deadline is None else write_time(message.deadline),
        "tenant": message.tenant,
        "traceContext": _trace_context(message) or None,
        "extensions": {name: value for name, value in message.extensions.items() if name in _KNOWN} or None,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    if message.content_type != JSON:
        fields["contentType"] = message.content_type
    for name, value in message.extensions.items():
        if name not in _KNOWN and name != _PARENT:
            fields[name] = value
    raw = None if message.data is None else embed(message.data, message.content_type)
    if message.data is None or raw is not None:
        fields["data"] = raw
    else:
        fields["dataBase64"] = to_base64(message.data)
    try:
        return _json.encode(fields)
    except UnicodeEncodeError as error:
        raise EncodeError(f"message {message.id!r} holds text that is not Unicode ({error})") from error


def from_plain(body: bytes, *, received_at: datetime | None = None) -> Message:
    """The message in a plain envelope; members that nobody here knows become extensions.

    `received_at` stands in for a missing timestamp. Raises UnrecognizedMessageError naming what is missing or wrong.
    """
    fields = members(body, _FORM)

    def take(name: str) -> str | None:
        return read_text(_FORM, name, value_of(fields.pop(name, None)))

    stated = fields.get("contentType")
    content_type = JSON if stated is None else take("contentType")
    fields.pop("contentType", None)
    extensions: dict[str, ExtensionValue] = {}
    traceparent, tracestate = _take_trace(fields, extensions)
    message_type, message_id = (
        required(_FORM, "eventType", take("eventType")),
        required(_FORM, "eventId", take("eventId")),
    )
    inline, encoded = fields.pop("data", None), value_of(fields.pop("dataBase64", None))
    return Message(
        id=message_id,
        type=message_type,
        time=_read_moment("timestamp", value_of(fields.pop("timestamp", None))) or received_at or datetime.now(UTC),
        data=extracted(inline, content_type) if encoded is None else from_base64(_FORM, "dataBase64", encoded),
        key=take("key"),
        source=take("source") or "",
        schema_version=read_version(_FORM, "schemaVersion", value_of(fields.pop("schemaVersion", None))),
        content_type=content_type,
        correlation_id=take("correlationId"),
        causation_id=take("causationId"),
        traceparent=traceparent,
        tracestate=tracestate,
        deadline=_read_moment("deadline", value_of(fields.pop("deadline", None))),
        tenant=take("tenant"),
        extensions=_take_extensions(fields, extensions) or NO_EXTENSIONS,
    )


def _trace_context(message: Message) -> dict[str, ExtensionValue]:
    context: dict[str, ExtensionValue] = {}
    if message.traceparent is not None:
        parts = _TRACEPARENT.fullmatch(message.traceparent)
        if parts is None:
            context["traceparent"] = message.traceparent
        else:
            context["traceId"], context["spanId"] = parts[1], parts[2]
            if parts[3] != _SAMPLED:
                context["traceFlags"] = parts[3]
    if _PARENT in message.extensions:
        context["parentSpanId"] = message.extensions[_PARENT]
    if message.tracestate is not None:
        context["traceState"] = message.tracestate
    return context


def _take_trace(fields: dict[str, msgspec.Raw], extensions: dict[str, ExtensionValue]) -> tuple[str | None, str | None]:
    """The W3C headers of `traceContext`; whatever in it fits no header becomes an extension."""
    context = _object(fields, "traceContext")
    values = {name: value for name, raw in context.items() if (value := extension(raw)) is not None}
    traceparent = values.pop("traceparent", None)
    tracestate = values.pop("traceState", None)
    if traceparent is None:
        flags = values.get("traceFlags", _SAMPLED)
        candidate = f"00-{values.get('traceId')}-{values.get('spanId')}-{flags}".lower()
        if _TRACEPARENT.fullmatch(candidate):
            traceparent = candidate
            for name in ("traceId", "spanId", "traceFlags"):
                values.pop(name, None)
    extensions.update({name.lower(): value for name, value in values.items()})
    return read_text(_FORM, "traceparent", traceparent), read_text(_FORM, "traceState", tracestate)


def _take_extensions(
    fields: dict[str, msgspec.Raw], extensions: dict[str, ExtensionValue]
) -> dict[str, ExtensionValue]:
    nested = _object(fields, "extensions")
    for name, raw in (*fields.items(), *nested.items()):
        if (value := extension(raw)) is not None:
            extensions[name] = value
    return extensions


def _object(fields: dict[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw]:
    """Take the members of the object `name`; something else under that name stays where it is."""
    raw = fields.get(name)
    if raw is None or bytes(raw)[:1] != b"{":
        return _NOTHING
    return members(bytes(fields.pop(name)), f"{_FORM}, {name}")


def _read_moment(name: str, value: object) -> datetime | None:
    """A time as text, or as a number of seconds or milliseconds since 1970."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if abs(value) >= 1e11 else value  # 1e11 s is the year 5138, 1e11 ms is 1973
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            pass
    return read_time(_FORM, name, value)
