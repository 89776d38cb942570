"""How a message is written as CloudEvents 1.0, in binary mode (headers and data) and structured mode (JSON)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import msgspec

from antiphon.errors import EncodeError, UnrecognizedMessageError
from antiphon.events.message import NO_EXTENSIONS, ExtensionValue, Message
from antiphon.events.notation import (
    JSON,
    embed,
    extension,
    extension_text,
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

KAFKA = "ce_"
HTTP = "ce-"
AMQP = "cloudEvents:"
AMQP_UNDERSCORE = "cloudEvents_"
PREFIXES = (KAFKA, HTTP, AMQP, AMQP_UNDERSCORE)
"""What the names of headers begin with. The spec demands percent-encoding with `ce-` (HTTP, NATS), and nowhere else."""

CONTENT_TYPE = "content-type"
STRUCTURED = "application/cloudevents+json"
UNKNOWN_SOURCE = "urn:antiphon:unknown"
"""What stands for an empty source, which CloudEvents does not allow."""

_BINARY_FORM = "CloudEvents in binary mode"
_STRUCTURED_FORM = "CloudEvents in structured mode"
_OURS = frozenset(
    {"specversion", "id", "source", "type", "time", "schemaversion", "partitionkey", "correlationid", "causationid",
     "traceparent", "tracestate", "deadline", "tenant", "datacontenttype", "data", "data_base64"}
)  # fmt: skip
_PRINTABLE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_NAME = re.compile(r"[a-z0-9]+")
_json = msgspec.json.Encoder()


def to_binary(message: Message, prefix: str = KAFKA) -> tuple[dict[str, str], bytes | None]:
    """Headers and data; data is None for a tombstone."""
    encode = _percent_encoded if prefix == HTTP else str
    headers = {prefix + name: encode(extension_text(value)) for name, value in _attributes(message).items()}
    if message.content_type is not None:
        headers[CONTENT_TYPE] = message.content_type
    return headers, message.data


def from_binary(
    headers: Mapping[str, str], data: bytes | None, prefix: str = KAFKA, *, received_at: datetime | None = None
) -> Message:
    """The message in headers and data; the names of headers are compared without case.

    `received_at` stands in for a missing time. Raises UnrecognizedMessageError naming the attribute that is
    missing or wrong.
    """
    start = prefix.lower()
    decode = _percent_decoded if start == HTTP else str
    known: dict[str, str] = {}
    extensions: dict[str, ExtensionValue] = {}
    content_type = None
    for header, value in headers.items():
        lowered = header.lower()
        if lowered.startswith(start):
            name = lowered[len(start) :]
            (known if name in _OURS else extensions)[name] = decode(value)
        elif lowered == CONTENT_TYPE:
            content_type = value
    if content_type is None:
        content_type = known.get("datacontenttype")
    return _message(_BINARY_FORM, known, extensions, content_type, data, received_at)


def to_structured(message: Message) -> bytes:
    """One JSON object. JSON data stays as it is, digit for digit; anything else goes as Base64."""
    fields: dict[str, object] = {**_attributes(message)}
    if message.content_type is not None:
        fields["datacontenttype"] = message.content_type
    if message.data is not None:
        raw = embed(message.data, message.content_type)
        fields["data_base64" if raw is None else "data"] = to_base64(message.data) if raw is None else raw
    try:
        return _json.encode(fields)
    except UnicodeEncodeError as error:
        raise EncodeError(f"message {message.id!r} holds text that is not Unicode ({error})") from error


def from_structured(body: bytes, *, received_at: datetime | None = None) -> Message:
    """The message in a JSON object; attributes that are null count as missing.

    Raises UnrecognizedMessageError naming the attribute that is missing or wrong.
    """
    fields = members(body, _STRUCTURED_FORM)
    inline, encoded = fields.pop("data", None), value_of(fields.pop("data_base64", None))
    known: dict[str, str] = {}
    extensions: dict[str, ExtensionValue] = {}
    for name, raw in fields.items():
        if name in _OURS:
            known.update(_text_member(name, raw))
        elif (value := extension(raw)) is not None:
            extensions[name] = value
    content_type = known.get("datacontenttype")
    if encoded is not None:
        data: bytes | None = from_base64(_STRUCTURED_FORM, "data_base64", encoded)
    else:
        # The spec: data without a content type is JSON.
        content_type = JSON if content_type is None and inline is not None else content_type
        data = extracted(inline, content_type)
    return _message(_STRUCTURED_FORM, known, extensions, content_type, data, received_at)


def _text_member(name: str, raw: msgspec.Raw) -> dict[str, str]:
    value = read_text(_STRUCTURED_FORM, name, value_of(raw))
    return {} if value is None else {name: value}


def _attributes(message: Message) -> dict[str, ExtensionValue]:
    found: dict[str, ExtensionValue] = {
        "specversion": "1.0",
        "id": message.id,
        "source": message.source or UNKNOWN_SOURCE,
        "type": message.type,
        "time": write_time(message.time),
        "schemaversion": message.schema_version,
    }
    optional = (
        ("partitionkey", message.key),
        ("correlationid", message.correlation_id),
        ("causationid", message.causation_id),
        ("traceparent", message.traceparent),
        ("tracestate", message.tracestate),
        ("tenant", message.tenant),
    )
    found.update((name, value) for name, value in optional if value is not None)
    if message.deadline is not None:
        found["deadline"] = write_time(message.deadline)
    for name, extra in message.extensions.items():
        found[_attribute_name(name, found)] = extra
    return found


def _attribute_name(name: str, taken: Mapping[str, ExtensionValue]) -> str:
    """The name as CloudEvents allows it: small letters and digits, none of ours."""
    if not _NAME.fullmatch(name):
        name = "".join(_NAME.findall(name.lower())) or "x"
    while name in _OURS or name in taken:
        name = f"x{name}"
    return name


def _message(
    form: str,
    known: Mapping[str, str],
    extensions: Mapping[str, ExtensionValue],
    content_type: str | None,
    data: bytes | None,
    received_at: datetime | None,
) -> Message:
    take = known.get
    version = required(form, "specversion", take("specversion"))
    if not version.startswith("1."):
        raise UnrecognizedMessageError(f"{form}: specversion is {version!r}; 1.0 is read, older drafts are not")
    source = required(form, "source", take("source"))
    return Message(
        id=required(form, "id", take("id")),
        type=required(form, "type", take("type")),
        time=read_time(form, "time", take("time")) or received_at or datetime.now(UTC),
        data=data,
        key=take("partitionkey"),
        source="" if source == UNKNOWN_SOURCE else source,
        schema_version=read_version(form, "schemaversion", take("schemaversion")),
        content_type=content_type,
        correlation_id=take("correlationid"),
        causation_id=take("causationid"),
        traceparent=take("traceparent"),
        tracestate=take("tracestate"),
        deadline=read_time(form, "deadline", take("deadline")),
        tenant=take("tenant"),
        extensions=extensions or NO_EXTENSIONS,
    )


def _percent_encoded(value: str) -> str:
    return quote(value, safe=_PRINTABLE)


def _percent_decoded(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return unquote(value)
