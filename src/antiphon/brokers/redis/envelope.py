"""How does a message become the fields of a stream's entry, and an entry a message?

The fields are CloudEvents in binary mode: headers named as on Kafka, and `data`. They are written and read here in one
sweep where they are as usual; whatever is not goes the way of all wire forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from antiphon.brokers.ports import Delivery, Partition
from antiphon.brokers.redis.resp import pack_args
from antiphon.errors import SchemaError
from antiphon.events.cloudevents import UNKNOWN_SOURCE
from antiphon.events.message import Message, Outgoing
from antiphon.events.wire import STRUCTURED, from_binary, recognize, to_binary, to_structured

_DATA: Final = b"data"
_CONTENT_TYPE: Final = b"content-type"
_HEADINGS: Final = (b"ce_specversion", b"ce_id", b"ce_source", b"ce_type", b"ce_time", b"ce_schemaversion")
"""What every entry of ours begins with, in this order, each followed by its value."""
_HEADING_VALUES: Final = 2 * len(_HEADINGS)
_USUAL: Final = b"".join(
    [
        b"$14\r\nce_specversion\r\n$3\r\n1.0\r\n",
        b"$5\r\nce_id\r\n$%d\r\n%b\r\n",
        b"$9\r\nce_source\r\n$%d\r\n%b\r\n",
        b"$7\r\nce_type\r\n$%d\r\n%b\r\n",
        b"$7\r\nce_time\r\n$%d\r\n%b\r\n",
        b"$16\r\nce_schemaversion\r\n$%d\r\n%b\r\n",
    ]
)
_OPTIONAL: Final = (
    ("key", b"ce_partitionkey"),
    ("correlation_id", b"ce_correlationid"),
    ("causation_id", b"ce_causationid"),
    ("traceparent", b"ce_traceparent"),
    ("tracestate", b"ce_tracestate"),
    ("tenant", b"ce_tenant"),
    ("content_type", _CONTENT_TYPE),
)
_PACKED_OPTIONAL: Final = tuple((field, b"$%d\r\n%b\r\n" % (len(name), name)) for field, name in _OPTIONAL)
_PACKED_DATA: Final = b"$4\r\ndata\r\n$%d\r\n%b\r\n"

Packed = tuple[int, bytes]
"""How many strings an entry has, and they as they are sent."""


def to_packed(message: Message) -> Packed:
    """The fields of a message, as they are sent. Raises ValueError for text that no UTF-8 can hold."""
    time = message.time
    if message.extensions or message.deadline is not None or time.tzinfo is not UTC:
        fields = _to_fields(message)
        return len(fields), pack_args(fields)
    id, source, type = message.id.encode(), (message.source or UNKNOWN_SOURCE).encode(), message.type.encode()
    moment, version = time.isoformat()[:-6].encode() + b"Z", b"%d" % message.schema_version
    heading = (id, source, type, moment, version)
    parts = [_USUAL % tuple([each for value in heading for each in (len(value), value)])]
    for field, name in _PACKED_OPTIONAL:
        value = getattr(message, field)
        if value is not None:
            text = value.encode()
            parts += (name, b"$%d\r\n%b\r\n" % (len(text), text))
    count = _HEADING_VALUES + len(parts) - 1
    data = message.data
    if data is not None:
        parts.append(_PACKED_DATA % (len(data), data))
        count += 2
    return count, b"".join(parts)


def _to_fields(message: Message) -> list[bytes]:
    if not all(isinstance(value, str) for value in message.extensions.values()):
        # Headers are text: only the structured mode tells a number or a truth value from it.
        return [_CONTENT_TYPE, STRUCTURED.encode(), _DATA, to_structured(message)]
    headers, data = to_binary(message)
    fields: list[bytes] = []
    for name, value in headers.items():
        fields += (name.encode(), value.encode())
    return fields if data is None else [*fields, _DATA, data]


def objection(outgoing: Outgoing, max_message_bytes: int) -> str | None:
    """Why this message cannot be taken, or None when it can."""
    message = outgoing.message
    if message.data is not None and len(message.data) > max_message_bytes:
        return f"its data has {len(message.data)} bytes, the limit is {max_message_bytes}"
    try:
        outgoing.topic.encode()
        to_packed(message)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        return str(error)
    return None


def to_delivery(partition: Partition, id: bytes, fields: Sequence[bytes]) -> Delivery:
    """An entry as a delivery; one that is none of the wire forms has a problem."""
    position = id.decode()
    try:
        message = _from_usual(fields) or _recognized(position, fields)
    except (SchemaError, UnicodeDecodeError) as error:
        return _undecodable(partition, position, fields, error)
    return Delivery(partition, position, message)


def _from_usual(fields: Sequence[bytes]) -> Message | None:
    """A message as this adapter writes it; None when anything of it is not as usual."""
    if tuple(fields[0:_HEADING_VALUES:2]) != _HEADINGS:
        return None
    version, id, source, type, time, schema = fields[1:_HEADING_VALUES:2]
    if version != b"1.0" or not (id and source and type and schema.isdigit() and time.endswith(b"Z")):
        return None
    rest = dict(zip(fields[_HEADING_VALUES::2], fields[_HEADING_VALUES + 1 :: 2], strict=True))
    take = rest.pop
    data = take(_DATA, None)
    key, correlation, causation, parent, state, tenant, content = [
        None if (value := take(name, None)) is None else value.decode() for _, name in _OPTIONAL
    ]
    if rest:
        return None
    try:
        moment = datetime.fromisoformat(time.decode())
    except ValueError:
        return None
    found = source.decode()
    return Message(
        id.decode(),
        type.decode(),
        moment,
        data,
        key,
        "" if found == UNKNOWN_SOURCE else found,
        int(schema),
        content,
        correlation,
        causation,
        parent,
        state,
        None,
        tenant,
    )


def _recognized(position: str, fields: Sequence[bytes]) -> Message:
    """Whatever others wrote: headers as they are, and the field `data`, or the only field that there is."""
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    body = pairs.pop(_DATA, None)
    if body is None and len(pairs) == 1:
        ((_, body),) = pairs.items()
        pairs = {}
    headers = {name.decode(): value.decode() for name, value in pairs.items()}
    if "ce_id" in headers:
        return from_binary(headers, body, received_at=arrived(position))
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
