"""What the twins on Kafka write by hand on confluent-kafka: how they connect, and the headers of what they publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from confluent_kafka import Consumer, Message, Producer, TopicPartition

PARTITIONS = 8
PAYMENTS = "payments"
PATIENCE = 30.0
"""Seconds that the cluster may take to confirm."""
ROOM, DRIVERS_ROOM = 5, 1_000
"""Milliseconds that the driver rests when it has read far ahead: as ours has it, and as it comes."""

Headers = list[tuple[str, str | bytes | None]]


def address(url: str) -> str:
    """The cluster as the driver takes it."""
    return url.removeprefix("kafka://")


def reader(url: str, **more: str | int | bool) -> Consumer:
    """A member of a new group that begins at the start and commits nothing by itself.

    It looks at once for more when it has read as far ahead as it may; the driver would rest for a second.
    """
    return Consumer(
        {
            "bootstrap.servers": address(url),
            "group.id": f"twin-{uuid4().hex[:12]}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": ROOM,
            **more,
        }
    )


def writer(url: str, **more: str | int | bool) -> Producer:
    """Confirmed by all replicas, each message written once, keys placed as Java does; compressed as ours does."""
    return Producer(
        {
            "bootstrap.servers": address(url),
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 1,
            **more,
        }
    )


def type_of(message: Message) -> bytes | None:
    """Which event a record carries: a reader of a topic has to look before it decodes."""
    headers: Mapping[str, str | bytes | None] = dict(message.headers() or ())
    found = headers.get("ce_type")
    return found if isinstance(found, bytes) else None


def headers_of(id: str, type: bytes, key: bytes, now: datetime, cause: bytes | None = None) -> Headers:
    """The envelope, as CloudEvents in headers."""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id),
        ("ce_source", b"shop"),
        ("ce_type", type),
        ("ce_time", now.isoformat()),
        ("ce_schemaversion", b"1"),
        ("ce_partitionkey", key),
        ("content-type", b"application/json"),
    ]
    if cause is not None:
        headers += [("ce_correlationid", cause), ("ce_causationid", cause)]
    return headers


def committed(consumer: Consumer, topic: str) -> int:
    """How many messages of the topic, in all its partitions, the group is past."""
    asked = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    return sum(max(0, found.offset) for found in consumer.committed(asked, PATIENCE))


def ends(consumer: Consumer, topic: str) -> Sequence[int]:
    """The offset of what comes next, of each partition."""
    return [consumer.get_watermark_offsets(TopicPartition(topic, number), PATIENCE)[1] for number in range(PARTITIONS)]


def read_since(consumer: Consumer, topic: str, since: Sequence[int]) -> int:
    """How many committed messages came after these offsets; marks of transactions are none."""
    now = ends(consumer, topic)
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in enumerate(since)])
    found = 0
    while any(
        place.offset < now[place.partition]
        for place in consumer.position([TopicPartition(topic, number) for number in range(PARTITIONS)])
        if since[place.partition] < now[place.partition]
    ):
        found += sum(message.error() is None for message in consumer.consume(10_000, 0.1))
    consumer.unassign()
    return found
