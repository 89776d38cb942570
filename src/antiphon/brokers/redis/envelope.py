"""How does a message become the fields of a stream's entry, and an entry a message?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import SchemaError
from antiphon.events.message import Message, Outgoing
from antiphon.events.wire import STRUCTURED, from_binary, recognize, to_binary, to_structured

DATA: Final = "data"
"""The field with the data; the others are headers, named as on Kafka."""
_DATA: Final = DATA.encode()
_CONTENT_TYPE: Final = b"content-type"
_OURS: Final = b"ce_specversion"

Fields = list[bytes]
"""Names and values, in turns."""


def to_fields(message: Message) -> Fields:
    """Raises ValueError for text that no UTF-8 can hold."""
    if message.extensions and not all(isinstance(value, str) for value in message.extensions.values()):
        # Headers are text: only the structured mode tells a number or a truth value from it.
        return [_CONTENT_TYPE, STRUCTURED.encode(), _DATA, to_structured(message)]
    headers, data = to_binary(message)
    fields: Fields = []
    for name, value in headers.items():
        fields += (name.encode(), value.encode())
    if data is not None:
        fields += (_DATA, data)
    return fields


def objection(outgoing: Outgoing, max_message_bytes: int) -> str | None:
    """Why this message cannot be taken, or None when it can."""
    message = outgoing.message
    if message.data is not None and len(message.data) > max_message_bytes:
        return f"its data has {len(message.data)} bytes, the limit is {max_message_bytes}"
    try:
        outgoing.topic.encode()
        to_fields(message)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        return str(error)
    return None


def to_delivery(partition: Partition, id: bytes, fields: Sequence[bytes]) -> Delivery:
    """An entry as a delivery; one that is none of the wire forms has a problem."""
    position = id.decode()
    try:
        if fields[0] == _OURS:
            return Delivery(partition, position, _from_ours(fields))
        return Delivery(partition, position, _recognized(position, fields))
    except (SchemaError, UnicodeDecodeError) as error:
        return _undecodable(partition, position, fields, error)


def _from_ours(fields: Sequence[bytes]) -> Message:
    """CloudEvents in binary mode, as this adapter writes it."""
    data: bytes | None = None
    if fields[-2] == _DATA:
        data = fields[-1]
        fields = fields[:-2]
    names = [name.decode() for name in fields[::2]]
    return from_binary(dict(zip(names, [value.decode() for value in fields[1::2]], strict=True)), data)


def _recognized(position: str, fields: Sequence[bytes]) -> Message:
    """Whatever others wrote: headers as they are, and the field `data`, or the only field that there is."""
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    body = pairs.pop(_DATA, None)
    if body is None and len(pairs) == 1:
        ((_, body),) = pairs.items()
        pairs = {}
    headers = {name.decode(): value.decode() for name, value in pairs.items()}
    return recognize(headers, body, received_at=arrived(position))


def _undecodable(partition: Partition, position: str, fields: Sequence[bytes], error: Exception) -> Delivery:
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    message = Message(
        id=f"{partition.topic}/{partition.number}@{position}",
        type="",
        time=arrived(position),
        data=pairs.get(_DATA, b"".join(pairs.values())),
        content_type=None,
    )
    problem = error if isinstance(error, SchemaError) else SchemaError(f"its headers are no text: {error}")
    return Delivery(partition, position, message, problem=problem)


def arrived(position: str) -> datetime:
    """When the server took an entry: its id says so."""
    return datetime.fromtimestamp(int(position.partition("-")[0]) / 1000, UTC)
