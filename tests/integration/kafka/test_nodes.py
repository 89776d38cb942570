"""A cluster that loses one node at a time costs a service under load nothing, and no key its order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from antiphon.brokers import connect
from antiphon.brokers.kafka import KafkaBroker
from antiphon.brokers.ports import SeekTo
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.servers import KafkaCluster
from tests.integration.kafka.cluster import publish_again
from tests.integration.kafka.noting import Counted

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[3]
KEYS, BATCH = 20, 20
PAUSE = 0.02


@pytest.fixture(scope="module")
def cluster():
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture
async def broker(cluster: KafkaCluster) -> AsyncIterator[KafkaBroker]:
    broker = connect(f"{cluster.url}&lease=6s")
    assert isinstance(broker, KafkaBroker)
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    store = SqliteDatabase(tmp_path / "notes.db")
    await store.open()
    async with store.transaction() as tx:
        await tx.execute("create table notes (counter text not null, number integer not null)")
    yield store
    await store.close()


@contextmanager
def noting(cluster: KafkaCluster, store: SqliteDatabase, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, in a process of its own; it has to go on by itself, and to end in good order."""
    command = [sys.executable, "-m", "antiphon", "run", "tests.integration.kafka.noting"]
    places = {"ANTIPHON_BROKER": f"{cluster.url}&lease=6s", "ANTIPHON_STORE": store.url}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **places}, stdout=log, stderr=log)
    try:
        yield process
        process.terminate()
        assert process.wait(40) == 0, (folder / "service.log").read_text("utf-8", "replace")[-2000:]
    finally:
        process.kill()
        process.wait()


class Load:
    """Counts on, evenly, until it is told to end; what the cluster refuses for now is published again."""

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker, self._composer = broker, Composer("load", SystemClock())
        self._ending = asyncio.Event()
        self.count = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._ending.is_set():
            numbers = range(self.count, self.count + BATCH)
            events = [Counted(f"key-{number % KEYS}", number // KEYS) for number in numbers]
            await publish_again(self._broker, [self._composer.first(each) for each in events])
            self.count += BATCH
            await asyncio.sleep(PAUSE)

    async def end(self) -> None:
        """Returns when the cluster holds all of it."""
        self._ending.set()
        await self._task


async def copies(broker: KafkaBroker) -> set[int]:
    """How many nodes have all of a partition, of every partition there is."""
    found = await asyncio.to_thread(broker.native.admin.list_topics, timeout=10)
    return {len(each.isrs) for topic in found.topics.values() for each in topic.partitions.values()}


async def until_whole(broker: KafkaBroker) -> None:
    async with asyncio.timeout(60):
        while await copies(broker) != {3}:
            await asyncio.sleep(0.2)


async def count_of(store: SqliteDatabase) -> int:
    [count] = await store.fetch("select count(*) from notes", row=int)
    return count


async def until_noted(store: SqliteDatabase, count: int, when: str) -> None:
    try:
        async with asyncio.timeout(60):
            while await count_of(store) < count:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{when} only {await count_of(store)} of {count} were noted") from None


async def notes_of(store: SqliteDatabase) -> dict[str, list[int]]:
    rows = await store.fetch("select counter, number from notes order by rowid", row=tuple[str, int])
    notes = defaultdict[str, list[int]](list)
    for counter, number in rows:
        notes[counter].append(number)
    return notes


async def test_a_node_that_is_lost_and_comes_back_costs_nothing(
    cluster: KafkaCluster, broker: KafkaBroker, store: SqliteDatabase, tmp_path: Path
) -> None:
    with noting(cluster, store, tmp_path):
        load = Load(broker)
        await until_noted(store, 10 * BATCH, "at first")
        async with read_by_somebody(broker, "notes"):
            await lose_one_at_a_time(cluster, broker, store, load)
        await load.end()
        assert load.count > 1_000
        await until_noted(store, load.count, "with all nodes")
    assert await notes_of(store) == {f"key-{key}": list(range(load.count // KEYS)) for key in range(KEYS)}
    assert await firsts_of_noted(broker, load.count) == await notes_of(store)


async def lose_one_at_a_time(cluster: KafkaCluster, broker: KafkaBroker, store: SqliteDatabase, load: Load) -> None:
    for node in cluster.nodes:
        noted = await count_of(store)
        await asyncio.to_thread(node.kill)
        under_way = load.count - noted
        await until_noted(store, noted + under_way + 10 * BATCH, f"without node {node.number}")
        # Here and not in another thread, with which it would end.
        node.start()
        await until_whole(broker)


@asynccontextmanager
async def read_by_somebody(broker: KafkaBroker, group: str) -> AsyncIterator[None]:
    """Whoever asks who reads the group meanwhile must never be told that nobody does: it could be moved then."""
    nobody, looks, is_over = 0, 0, asyncio.Event()

    async def look() -> None:
        nonlocal nobody, looks
        while not is_over.is_set():
            lags = await broker.lag(group)
            nobody += all(lag.owner is None for lag in lags)
            looks += 1
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        is_over.set()
        await looking
    assert looks > 5
    assert not nobody, f"{nobody} of {looks} looks found nobody"


class Watching:
    """A process that goes on moving and measuring groups of the cluster."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def until_watched(self, times: int, when: str) -> None:
        """Return when it has done so with each group so many times more."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            for _ in range(times):
                line = await self._process.stdout.readline()
                assert line, f"{when} it ended with {await self._process.wait()}"


@asynccontextmanager
async def watching(cluster: KafkaCluster) -> AsyncIterator[Watching]:
    """It has to end in good order."""
    url = f"{cluster.url}&protocol=consumer"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.kafka.watching", url, cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    try:
        yield Watching(process)
        await asyncio.wait_for(process.communicate(b""), 40)
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_who_moves_and_measures_groups_outlives_whatever_node_looks_after_them(
    cluster: KafkaCluster, broker: KafkaBroker
) -> None:
    """The calls that the driver has for that end the process."""
    async with watching(cluster) as watcher:
        await watcher.until_watched(3, "at first")
        for node in cluster.nodes:
            await asyncio.to_thread(node.kill)
            await watcher.until_watched(20, f"without node {node.number}")
            node.start()  # here and not in another thread, with which it would end
            await until_whole(broker)
            await watcher.until_watched(3, f"with node {node.number} again")


async def firsts_of_noted(broker: KafkaBroker, count: int) -> dict[str, list[int]]:
    """What left the outbox, each the first time that it did, in the order of the log."""
    found = await broker.browse("noted", SeekTo.START, 2 * count)
    seen: set[str] = set()
    noted = defaultdict[str, list[int]](list)
    for each in found:
        if each.message.id not in seen:
            seen.add(each.message.id)
            number = int((each.message.data or b"").partition(b'"number":')[2].rstrip(b"}"))
            noted[each.message.key or ""].append(number)
    return noted
