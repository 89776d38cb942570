"""How is a message written into a message of NATS, and read from one?

CloudEvents in binary mode. NATS has no missing body, and headers hold only text: a tombstone, and a message with
extensions that are no text, go in structured mode.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import EncodeError, SchemaError
from antiphon.events.message import Message
from antiphon.events.wire import HTTP, STRUCTURED, recognize, to_binary, to_structured

DEDUPLICATION = "Nats-Msg-Id"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pack(message: Message, *, with_id: bool) -> tuple[dict[str, str], bytes]:
    """Headers and body, and by which id the server knows it again. Raises EncodeError for text that is not Unicode."""
    if message.data is None or not all(isinstance(value, str) for value in message.extensions.values()):
        headers, body = {"content-type": STRUCTURED}, to_structured(message)
    else:
        try:
            headers, data = to_binary(message, HTTP)
        except UnicodeEncodeError as error:
            raise EncodeError(f"message {message.id!r} holds text that is not Unicode ({error})") from error
        body = data or b""
    if with_id:
        headers[DEDUPLICATION] = _id(message)
    return headers, body


def _id(message: Message) -> str:
    return quote(message.identity, safe=":")


def size_of(headers: dict[str, str], body: bytes) -> int:
    """How many bytes of the server's limit they take, at most some tens fewer in truth."""
    return len(body) + sum(map(len, headers)) + sum(map(len, headers.values())) + 4 * len(headers) + 200


def unpack(
    partition: Partition, sequence: int, headers: dict[str, str] | None, body: bytes, stored: datetime
) -> Delivery:
    """The delivery of what is stored at `sequence`; with a problem when it is none of the wire forms."""
    headers = headers or {}
    try:
        message = recognize(headers, body, received_at=stored)
    except SchemaError as error:
        id = headers.get("ce-id") or f"{partition.topic}/{partition.number}@{sequence}"
        found = {name: value for name, value in headers.items() if not name.startswith("Nats-")}
        foreign = Message(id, "", stored, body, content_type=None, extensions=found)
        return Delivery(partition, str(sequence), foreign, problem=error)
    return Delivery(partition, str(sequence), message)


def moment_of(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
