"""What a cluster does to its members and its messages in its own time, done now."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from confluent_kafka import TopicPartition

from antiphon.brokers.kafka import KafkaBroker, KafkaSubscription
from antiphon.brokers.ports import Broker, Delivery, Partition, Subscription

_LEAVE_GROUP = 13
_CONSUMER_GROUP_HEARTBEAT = 68
_BYTES_PER_MESSAGE = 1_300


class Stalled:
    """A consumer whose process hangs until somebody fetches or commits again."""

    def __init__(self, subscription: KafkaSubscription) -> None:
        self.consumer: Any = subscription._reader.consumer
        self.is_over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.consumer, name)

    def poll(self, wait: float) -> None:
        import time

        if not self.is_over:
            time.sleep(0.01)
            return None
        return self.consumer.poll(wait)


async def evict(broker: Broker, subscription: Subscription) -> None:
    """Let its thread hang, and its membership end."""
    assert isinstance(broker, KafkaBroker)
    assert isinstance(subscription, KafkaSubscription)
    reader = subscription._reader
    stalled = Stalled(subscription)
    reader.consumer = stalled
    fetch, commit = subscription.fetch, subscription.commit

    async def wake(limit: int, max_bytes: int, wait: timedelta) -> Sequence[Delivery]:
        stalled.is_over = True
        return await fetch(limit, max_bytes, wait)

    async def wake_and_commit(watermarks: Mapping[Partition, str]) -> None:
        stalled.is_over = True
        await commit(watermarks)

    subscription.fetch, subscription.commit = wake, wake_and_commit
    member = stalled.consumer.memberid()
    await asyncio.to_thread(leave, broker._servers, subscription.group, member)


def leave(server: str, group: str, member: str) -> None:
    """Tell the cluster that this member is gone, as it finds by itself when its lease is over."""
    if _ask(server, struct.pack(">hhih", _LEAVE_GROUP, 0, 1, -1) + _text(group) + _text(member), 8) == 0:
        return
    # With KIP-848 a member leaves by a heartbeat in the epoch -1; what is null or has no tags is a zero.
    header = struct.pack(">hhih", _CONSUMER_GROUP_HEARTBEAT, 0, 1, -1) + b"\0"
    body = _compact(group) + _compact(member) + struct.pack(">i", -1) + b"\0\0" + struct.pack(">i", -1) + b"\0\0\0\0"
    code = _ask(server, header + body, 13)
    assert code == 0, f"the cluster answers {code}"


def _ask(server: str, request: bytes, at: int) -> int:
    """The code in its answer, which stands at this place."""
    host, _, port = server.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.recv(256)
    code: int = struct.unpack(">h", answer[at : at + 2])[0]
    return code


def _compact(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


async def retain(broker: Broker) -> None:
    """Delete what retention would. Kafka's own looks at whole segments, and at those only now and then."""
    assert isinstance(broker, KafkaBroker)
    opened = broker._opened
    assert opened is not None
    for state in await broker.topics():
        if state.keep_bytes is None and state.keep_for is None:
            continue
        partitions = opened.topics.partitions(state.name) or await opened.topics.partitions_of(state.name)
        starts, ends = await opened.admin.starts(partitions), await opened.admin.ends(partitions)
        cut = []
        for partition in partitions:
            kept = 0 if state.keep_bytes is None else state.keep_bytes // state.partitions // _BYTES_PER_MESSAGE
            first = max(starts[partition], ends[partition] - kept)
            cut.append(TopicPartition(partition.topic, partition.number, first))
        for answer in opened.admin.native.delete_records(cut).values():
            await asyncio.wrap_future(answer)
