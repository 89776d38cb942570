"""How is a message written into a message of NATS, and read from one?

CloudEvents in binary mode. NATS has no missing body, and headers hold only text: a tombstone, and a message with
extensions that are no text, go in structured mode. What is as usual is written and read here in one sweep, to the
same end as by the codecs of `events`, which do the rest.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import EncodeError, SchemaError
from antiphon.events.cloudevents import UNKNOWN_SOURCE
from antiphon.events.message import Message
from antiphon.events.notation import read_time, read_version, write_time
from antiphon.events.wire import HTTP, STRUCTURED, recognize, to_binary, to_structured

_ID = "Nats-Msg-Id"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = "CloudEvents in binary mode"
_PLAIN = re.compile(r"[!#-$&-~]*")
"""What stands in a header as it is: printable, and neither a space, a quote nor a percent sign."""
_CODED = re.compile('[%"]')
_USUAL = frozenset(
    {"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-schemaversion", "ce-deadline", "ce-partitionkey",
     "ce-correlationid", "ce-causationid", "ce-traceparent", "ce-tracestate", "ce-tenant", "content-type",
     _ID, "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"}
)  # fmt: skip


def pack(message: Message, *, with_id: bool) -> tuple[dict[str, str], bytes]:
    """Headers and body, and by which id the server knows it again. Raises EncodeError for text that is not Unicode."""
    if message.data is None or not all(isinstance(value, str) for value in message.extensions.values()):
        headers, body = {"content-type": STRUCTURED}, to_structured(message)
    else:
        try:
            headers, body = _headers(message), message.data
        except UnicodeEncodeError as error:
            raise EncodeError(f"message {message.id!r} holds text that is not Unicode ({error})") from error
    if with_id:
        headers[_ID] = quote(message.identity, safe=":")
    return headers, body


def _headers(message: Message) -> dict[str, str]:
    if message.extensions:
        return to_binary(message, HTTP)[0]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": _coded(message.id),
        "ce-source": _coded(message.source or UNKNOWN_SOURCE),
        "ce-type": _coded(message.type),
        "ce-time": write_time(message.time),
        "ce-schemaversion": str(message.schema_version),
    }
    if message.key is not None:
        headers["ce-partitionkey"] = _coded(message.key)
    if message.correlation_id is not None:
        headers["ce-correlationid"] = _coded(message.correlation_id)
    if message.causation_id is not None:
        headers["ce-causationid"] = _coded(message.causation_id)
    if message.traceparent is not None:
        headers["ce-traceparent"] = _coded(message.traceparent)
    if message.tracestate is not None:
        headers["ce-tracestate"] = _coded(message.tracestate)
    if message.tenant is not None:
        headers["ce-tenant"] = _coded(message.tenant)
    if message.deadline is not None:
        headers["ce-deadline"] = write_time(message.deadline)
    if message.content_type is not None:
        headers["content-type"] = message.content_type
    return headers


def _coded(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def size_of(headers: dict[str, str], body: bytes) -> int:
    """How many bytes of the server's limit they take, at most some tens fewer in truth."""
    return len(body) + sum(map(len, headers)) + sum(map(len, headers.values())) + 4 * len(headers) + 200


def unpack(
    partition: Partition, sequence: int, headers: dict[str, str] | None, body: bytes, stored: datetime
) -> Delivery:
    """The delivery of what is stored at `sequence`; with a problem when it is none of the wire forms."""
    headers = headers or {}
    try:
        if headers.keys() <= _USUAL and "ce-specversion" in headers and not _CODED.search("".join(headers.values())):
            message = _message(headers, body, stored)
        else:
            message = recognize(headers, body, received_at=stored)
    except SchemaError as error:
        id = headers.get("ce-id") or f"{partition.topic}/{partition.number}@{sequence}"
        found = {name: value for name, value in headers.items() if not name.startswith("Nats-")}
        foreign = Message(id, "", stored, body, content_type=None, extensions=found)
        return Delivery(partition, str(sequence), foreign, problem=error)
    return Delivery(partition, str(sequence), message)


def _message(headers: dict[str, str], body: bytes, stored: datetime) -> Message:
    """As `recognize`, of headers that are all known and nowhere encoded."""
    take = headers.get
    id, source, type = take("ce-id"), take("ce-source"), take("ce-type")
    content_type = take("content-type")
    is_structured = content_type is not None and content_type.lower().startswith("application/cloudevents")
    if not (id and source and type and headers["ce-specversion"] == "1.0") or is_structured:
        return recognize(headers, body, received_at=stored)
    return Message(
        id,
        type,
        read_time(_FORM, "time", take("ce-time")) or stored,
        body,
        take("ce-partitionkey"),
        "" if source == UNKNOWN_SOURCE else source,
        read_version(_FORM, "schemaversion", take("ce-schemaversion")),
        content_type,
        take("ce-correlationid"),
        take("ce-causationid"),
        take("ce-traceparent"),
        take("ce-tracestate"),
        read_time(_FORM, "deadline", take("ce-deadline")),
        take("ce-tenant"),
    )


def moment_of(nanoseconds: int) -> datetime:
    """A time of the server's."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
