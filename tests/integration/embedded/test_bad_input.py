"""What does the log do with a file, a folder or a disk that is not as it should be?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import SeekTo
from antiphon.errors import StoreCorruptError, StoreFullError, StoreVersionError
from tests.integration.embedded.messages import a_batch, ids
from tests.integration.embedded.processes import ROOT

ROOM, LONG = 1 << 24, timedelta(seconds=5)


async def test_a_foreign_file_is_refused_and_left_as_it_is(path: Path) -> None:
    content = b"these are my notes, no database at all\n" * 200
    path.write_bytes(content)  # noqa: ASYNC240
    with pytest.raises(StoreCorruptError, match="not a database"):
        await EmbeddedBroker(path).open()
    assert path.read_bytes() == content  # noqa: ASYNC240


async def test_a_truncated_file_is_refused_or_read_as_far_as_it_goes(path: Path) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    for _ in range(20):
        await broker.publish(a_batch("t", 100))
    await broker.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # noqa: ASYNC240
    with pytest.raises(StoreCorruptError):
        await _read_all(EmbeddedBroker(path))


async def test_a_file_of_a_newer_version_is_refused_by_name(path: Path) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    async with broker.database.transaction() as tx:
        (table,) = await tx.fetch("select name from sqlite_schema where name like '%migrations'", row=str)
        await tx.execute(
            f"insert into {table} select component, 99, 'later', checksum, applied_at from {table} "
            "where component = 'embedded' limit 1"
        )
    await broker.close()
    with pytest.raises(StoreVersionError, match="newer version"):
        await EmbeddedBroker(path).open()


async def test_two_openings_of_one_new_file_at_once_both_succeed(path: Path) -> None:
    brokers = [EmbeddedBroker(path) for _ in range(4)]
    await asyncio.gather(*(broker.open() for broker in brokers))
    for broker in brokers:
        await broker.publish(a_batch("t", 3))
    assert [state.messages for state in await brokers[0].topics()] == [12]
    for broker in brokers:
        await broker.close()


async def test_a_full_file_refuses_whole_batches_and_goes_on_once_there_is_room(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    writer = broker.database
    async with writer.transaction() as tx:
        ((pages,),) = await tx.fetch("pragma page_count")
    await _limit(broker, int(str(pages)) + 60)
    confirmed: list[str] = []
    with pytest.raises(StoreFullError):
        await _publish_for_ever(broker, confirmed)
    with pytest.raises(StoreFullError):
        await broker.publish(a_batch("t", 50, b"x" * 1000))
    assert sorted(ids(await subscription.fetch(10_000, ROOM, LONG))) == sorted(confirmed)
    await _limit(broker, 1_000_000)
    await broker.publish(a_batch("t", 50, b"x" * 1000))
    assert len(await subscription.fetch(10_000, ROOM, LONG)) == 50


async def _read_all(broker: EmbeddedBroker) -> None:
    try:
        await broker.open()
        await broker.browse("t", SeekTo.START, 10_000)
    finally:
        await broker.close()


async def _publish_for_ever(broker: EmbeddedBroker, confirmed: list[str]) -> None:
    while True:
        batch = a_batch("t", 50, b"x" * 1000)
        await broker.publish(batch)
        confirmed += [message.id for _, message in batch]


async def _limit(broker: EmbeddedBroker, pages: int) -> None:
    async with broker.database.transaction() as tx:
        await tx.fetch(f"pragma max_page_count = {pages}")


FILLING = """
import asyncio, resource, signal, sys
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.errors import StoreFullError
from tests.integration.embedded.messages import a_batch

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    broker = EmbeddedBroker(sys.argv[1])
    await broker.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
    confirmed, refused = [], 0
    for _ in range(200):
        batch = a_batch("t", 50, b"x" * 1000)
        try:
            await broker.publish(batch)
            confirmed += [message.id for _, message in batch]
        except StoreFullError:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    batch = a_batch("t", 50, b"x" * 1000)
    await broker.publish(batch)
    confirmed += [message.id for _, message in batch]
    await broker.close()
    print(refused, *confirmed)

asyncio.run(main())
"""


async def test_a_process_at_its_limit_of_file_size_loses_nothing_confirmed_and_goes_on(path: Path) -> None:
    command = [sys.executable, "-c", FILLING, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221
    assert done.returncode == 0, done.stderr
    refused, *confirmed = done.stdout.split()
    assert int(refused) > 0
    broker = EmbeddedBroker(path)
    await broker.open()
    assert sorted(ids(await broker.browse("t", SeekTo.START, 100_000))) == sorted(confirmed)
    await broker.close()
