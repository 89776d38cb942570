"""How do records become deliveries? This runs for every message, so nothing in it is done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from antiphon.brokers.kafka.client import Record
from antiphon.brokers.kafka.envelope import Headers, from_record, unread
from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import SchemaError

_NOTHING: Mapping[str, bytes | None] = {}
_NO_MORE = cast("Headers", None)
"""Lets a record drop what was read: a dozen tuples each that the garbage collector would walk with every batch."""


def deliveries_of(partition: Partition, records: Sequence[Record]) -> tuple[list[Delivery], int]:
    """The deliveries of records of one partition, in order, and the bytes of their data."""
    size = 0
    deliveries: list[Delivery] = []
    append = deliveries.append
    for record in records:
        value = record.value()
        if value is not None:
            size += len(value)
        pairs = record.headers()
        headers = cast("Mapping[str, bytes | None]", dict(pairs)) if pairs else _NOTHING
        record.set_headers(_NO_MORE)
        offset = str(record.offset())
        try:
            message = from_record(headers, record.key(), value, record.timestamp()[1])
        except SchemaError as error:
            place = f"{partition.topic}/{partition.number}@{offset}"
            message = unread(place, headers, record.key(), value)
            append(Delivery(partition, offset, message, problem=error))
        else:
            append(Delivery(partition, offset, message))
    return deliveries, size
