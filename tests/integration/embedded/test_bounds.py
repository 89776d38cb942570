"""Do the file, its write-ahead log and the process stay small whatever readers and writers do?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import TopicSpec
from antiphon.storage.sqlite import SqliteDatabase
from tests.integration.embedded.member import TOPIC
from tests.integration.embedded.messages import a_batch
from tests.integration.embedded.processes import Child

ROOM = 1 << 24
MEGABYTE = 1 << 20


async def test_file_and_write_ahead_log_stay_bounded_under_constant_readers_and_writers(
    path: Path, spawn: Callable[..., Child]
) -> None:
    database = SqliteDatabase(path, wal_limit=4 * MEGABYTE)
    await database.open()
    broker = EmbeddedBroker(database)
    await broker.open()
    await broker.ensure_topic(TopicSpec(TOPIC, keep_bytes=2 * MEGABYTE))
    publisher, reader = spawn("publish"), spawn("consume")
    await asyncio.to_thread(reader.wait_until_told, "read")
    sizes, logs = [], []
    for _ in range(40):
        await broker.publish(a_batch(TOPIC, 1000, b"x" * 1000))
        await broker.clean()
        sizes.append(os.path.getsize(path))  # noqa: ASYNC240, PTH202
        logs.append(os.path.getsize(f"{path}-wal"))  # noqa: ASYNC240, PTH202
    publisher.kill()
    reader.kill()
    assert max(sizes) < 8 * MEGABYTE
    assert max(logs) < 10 * MEGABYTE
    await broker.close()
    await database.close()


async def test_a_batch_costs_one_commit_and_a_confirmed_watermark_one(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    counters = broker.database.counters
    before = counters.commits
    await broker.publish(a_batch("t", 1000))
    assert counters.commits - before == 1
    deliveries = await subscription.fetch(1000, ROOM, timedelta(seconds=5))
    before = counters.commits
    await subscription.commit({d.partition: d.position for d in deliveries})
    assert counters.commits - before == 1


async def test_the_writing_connection_waits_for_the_disk_at_every_commit(broker: EmbeddedBroker) -> None:
    async with broker.database.transaction() as tx:
        ((level,),) = await tx.fetch("pragma synchronous")
        ((mode,),) = await tx.fetch("pragma journal_mode")
    assert (level, mode) == (2, "wal")


async def test_a_large_backlog_is_read_in_bounded_pieces(broker: EmbeddedBroker) -> None:
    for _ in range(10):
        await broker.publish(a_batch("t", 100, b"x" * 10_000))
    subscription = await broker.subscribe("g", ["t"])
    total = 0
    while total < 1000:
        deliveries = await subscription.fetch(1000, 500_000, timedelta(seconds=5))
        assert sum(len(d.message.data or b"") for d in deliveries) <= 500_000
        total += len(deliveries)
