"""How is a message written into a message of NATS, and read from one?

CloudEvents in binary mode. NATS has no missing body, and headers hold only text: a tombstone, and a message with
extensions that are no text, go in structured mode.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import SchemaError
from antiphon.events.message import Message
from antiphon.events.wire import HTTP, STRUCTURED, recognize, to_binary, to_structured

DEDUPLICATION = "Nats-Msg-Id"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pack(message: Message) -> tuple[dict[str, str], bytes]:
    """Headers and body. Raises EncodeError for text that is not Unicode."""
    if message.data is None or not all(isinstance(value, str) for value in message.extensions.values()):
        return {"content-type": STRUCTURED, DEDUPLICATION: _id(message)}, to_structured(message)
    headers, data = to_binary(message, HTTP)
    headers[DEDUPLICATION] = _id(message)
    return headers, data or b""


def _id(message: Message) -> str:
    return quote(message.identity, safe=":")


def size_of(headers: dict[str, str], body: bytes) -> int:
    """How many bytes of the server's limit they take, at most some tens fewer in truth."""
    return len(body) + sum(map(len, headers)) + sum(map(len, headers.values())) + 4 * len(headers) + 200


def unpack(partition: Partition, sequence: int, headers: dict[str, str] | None, body: bytes, stored: datetime) -> Delivery:
    """The delivery of what is stored at `sequence`; with a problem when it is none of the wire forms."""
    try:
        message = recognize(headers or {}, body, received_at=stored)
    except SchemaError as error:
        foreign = Message(f"{partition.topic}/{partition.number}@{sequence}", "", stored, body, content_type=None, extensions=headers or {})
        return Delivery(partition, str(sequence), foreign, problem=error)
    return Delivery(partition, str(sequence), message)


def moment_of(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
