"""How does a message become a record of Kafka's, and a record a message?

It travels as CloudEvents in binary mode. Their headers are text, so one of our own beside them names the extensions
that are numbers or booleans. What comes in the form that we write is read the short way, all else by `recognize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from antiphon.events.message import NO_EXTENSIONS, ExtensionValue, Message
from antiphon.events.notation import write_time
from antiphon.events.wire import recognize, to_binary

TYPES = "antiphon-types"
"""Such as `retries=int,sampled=bool`."""
Headers = list[tuple[str, str | bytes | None]]

_FRAMING = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USUAL = frozenset(
    {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_schemaversion", "ce_partitionkey",
     "ce_correlationid", "ce_causationid", "ce_traceparent", "ce_tracestate", "content-type"}
)  # fmt: skip
_UNKNOWN_SOURCE = b"urn:antiphon:unknown"
_VERSIONS = {str(number).encode(): number for number in range(1, 1000)}
_fromisoformat = datetime.fromisoformat


def to_record(message: Message) -> Headers:
    """The headers of the record; its value is the data, its key that of `key_bytes`."""
    # In bytes, since the driver cuts a text at its first zero.
    if message.extensions or message.deadline is not None or message.tenant is not None:
        return _all_headers(message)
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", message.id.encode()),
        ("ce_source", message.source.encode() or _UNKNOWN_SOURCE),
        ("ce_type", message.type.encode()),
        ("ce_time", write_time(message.time)),
        ("ce_schemaversion", str(message.schema_version)),
    ]
    if message.key is not None:
        headers.append(("ce_partitionkey", message.key.encode()))
    if message.correlation_id is not None:
        headers.append(("ce_correlationid", message.correlation_id.encode()))
    if message.causation_id is not None:
        headers.append(("ce_causationid", message.causation_id.encode()))
    if message.traceparent is not None:
        headers.append(("ce_traceparent", message.traceparent.encode()))
    if message.tracestate is not None:
        headers.append(("ce_tracestate", message.tracestate.encode()))
    if message.content_type is not None:
        headers.append(("content-type", message.content_type.encode()))
    return headers


def _all_headers(message: Message) -> Headers:
    headers: Headers = [(name, value.encode()) for name, value in to_binary(message)[0].items()]
    types = {name: type(value) for name, value in message.extensions.items() if type(value) is not str}
    if types:
        headers.append((TYPES, ",".join(f"{name}={kind.__name__}" for name, kind in types.items())))
    return headers


def key_bytes(key: str | None) -> bytes | None:
    """The key of the record, which places it."""
    return None if key is None else key.encode()


def record_size(message: Message) -> int:
    """The most bytes that the record takes, alone in a batch and not compressed."""
    headers = sum(len(name) + _size(value) for name, value in to_record(message))
    return _FRAMING + headers + _size(message.key) + len(message.data or b"")


def _size(value: str | bytes | None) -> int:
    return len(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value or b"")


def key_text(key: bytes | None) -> str | None:
    """The key of a record that states no other; bytes that are no text as 0x and their digits."""
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return f"0x{key.hex()}"


def moment(milliseconds: int) -> datetime:
    """A timestamp of Kafka's."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def from_record(
    headers: Mapping[str, bytes | None], key: bytes | None, value: bytes | None, milliseconds: int
) -> Message:
    """The message in a record. Raises UnrecognizedMessageError when it is none of the wire forms."""
    if headers.keys() <= _USUAL:
        read = _read_usual(headers, key, value)
        if read is not None:
            return read
    texts = {name: text.decode("utf-8", "replace") for name, text in headers.items() if text is not None}
    received = moment(milliseconds) if milliseconds >= 0 else None
    message = recognize(texts, value, key=key_text(key), received_at=received)
    types = texts.get(TYPES)
    return message if types is None else replace(message, extensions=_typed(message.extensions, types))


def _read_usual(headers: Mapping[str, bytes | None], key: bytes | None, value: bytes | None) -> Message | None:
    """The message of a record as we write it; None when it is another, or a broken one."""
    get = headers.get
    try:
        source = headers["ce_source"]
        time = _fromisoformat(headers["ce_time"].decode())  # type: ignore[union-attr] # what is None is caught below
        if time.tzinfo is not UTC or headers["ce_specversion"] != b"1.0":
            return None
        key_, content_type = get("ce_partitionkey"), get("content-type")
        if content_type is not None and content_type[:23] == b"application/cloudevents":
            return None
        story, cause, parent, state = (
            get("ce_correlationid"),
            get("ce_causationid"),
            get("ce_traceparent"),
            get("ce_tracestate"),
        )
        message = Message(
            headers["ce_id"].decode(),  # type: ignore[union-attr] # as above
            headers["ce_type"].decode(),  # type: ignore[union-attr] # as above
            time,
            value,
            key_text(key) if key_ is None else key_.decode(),
            "" if source == _UNKNOWN_SOURCE else source.decode(),  # type: ignore[union-attr] # as above
            _VERSIONS[headers["ce_schemaversion"]],  # type: ignore[index] # as above
            None if content_type is None else content_type.decode(),
            None if story is None else story.decode(),
            None if cause is None else cause.decode(),
            None if parent is None else parent.decode(),
            None if state is None else state.decode(),
        )
    except (KeyError, AttributeError, ValueError):
        return None
    return message if message.id and message.type and source else None


def _typed(extensions: Mapping[str, ExtensionValue], types: str) -> Mapping[str, ExtensionValue]:
    """The extensions with the types that they had; one that is not what was said of it stays text."""
    typed = dict(extensions)
    for name, _, kind in (each.partition("=") for each in types.split(",")):
        text = typed.get(name)
        if kind == "bool" and text in ("true", "false"):
            typed[name] = text == "true"
        elif kind == "int" and isinstance(text, str):
            try:
                typed[name] = int(text)
            except ValueError:
                continue
    return typed or NO_EXTENSIONS


def unread(place: str, headers: Mapping[str, bytes | None], key: bytes | None, value: bytes | None) -> Message:
    """What stands for a record that cannot be recognized, so that it can be parked whole: its place is its id."""
    kept = {name: text.decode("utf-8", "replace") for name, text in headers.items() if text is not None}
    content_type = kept.pop("content-type", None)
    return Message(
        f"record:{place}",
        "unrecognized",
        datetime.now(UTC),
        value,
        key_text(key),
        content_type=content_type,
        extensions=kept or NO_EXTENSIONS,
    )
