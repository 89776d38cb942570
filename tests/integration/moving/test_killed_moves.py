"""A move that is killed at any moment goes on when it is run again: no gap, nothing twice, groups where they stood."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from antiphon import connect
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import (
    DONE,
    Broker,
    Browsing,
    Delivery,
    Partition,
    QueueSubscription,
    Settlement,
    TopicSpec,
)
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.moving.reading import is_log
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.set_aside import AsideState, SetAside, set_aside
from tests.integration.moving import killed

TOPICS = {"orders": 3, "visits": 2}
READ = {
    ("billing", "orders"): {0: 3, 1: 8, 2: 0},
    ("counting", "orders"): {0: 9, 1: 4, 2: 0},
    ("watching", "visits"): {0: 5, 1: 6},
    ("looking", "visits"): {0: 7, 1: 6},
}
"""How many messages of each partition a group has read: on `orders` each of them some that the other one has not."""
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.integration.moving.killed", "antiphon.brokers.embedded"])


class Expected(NamedTuple):
    """What each group has to read yet, by group and topic, in the order of each partition."""

    unread: Mapping[tuple[str, str], Sequence[Message]]
    parked: Message
    """One of these that `billing` has given up already."""
    tag: str
    """What the names of topics and groups end with, so that no other move on the same server has them."""

    def named(self, name: str) -> str:
        return f"{name}-{self.tag}"


def message(key: str | None, number: int) -> Message:
    return Message(
        new_id(),
        "Happened",
        datetime(2026, 1, 2, 3, 4, 5, number, tzinfo=UTC),
        f'{{"number": {number}}}'.encode(),
        key=key,
        source="shop",
        schema_version=3,
        correlation_id="a story",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tenant="blue",
        extensions={"color": "red"},
    )


async def prepare(log: Path, tag: str, kept: timedelta | None) -> Expected:
    """A log with two topics, and two groups in the middle of each."""
    log.parent.mkdir()
    broker = EmbeddedBroker(log)
    await broker.open()
    orders, visits = f"orders-{tag}", f"visits-{tag}"
    for topic, partitions in TOPICS.items():
        await broker.ensure_topic(TopicSpec(f"{topic}-{tag}", partitions, keep_for=kept))
    for start in range(0, 60, 20):
        numbers = range(start, start + 20)
        await broker.publish([Outgoing(orders, message(f"key-{number % 7}", number)) for number in numbers])
        await broker.publish([Outgoing(visits, message(None, number)) for number in numbers])
    unread: dict[tuple[str, str], Sequence[Message]] = {}
    for (group, topic), read in READ.items():
        held = await held_by_partition(broker, f"{topic}-{tag}")
        places = {Partition(f"{topic}-{tag}", number): str(count) for number, count in read.items()}
        await broker.seek(f"{group}-{tag}", f"{topic}-{tag}", places)
        unread[group, topic] = [each.message for number in sorted(held) for each in held[number][read[number] :]]
    parked = (await held_by_partition(broker, orders))[0][8]
    await put_aside(broker, parked, f"billing-{tag}")
    await broker.close()
    return Expected(unread, parked.message, tag)


async def held_by_partition(broker: Browsing, topic: str) -> Mapping[int, list[Delivery]]:
    held: defaultdict[int, list[Delivery]] = defaultdict(list)
    for each in await broker.browse(topic, {}, 1_000):
        held[each.partition.number].append(each)
    return held


async def put_aside(broker: EmbeddedBroker, parked: Delivery, group: str) -> None:
    item = SetAside(
        message=parked.message,
        topic=parked.partition.topic,
        partition=parked.partition.number,
        position=parked.position,
        service="billing",
        group=group,
        handler="bill",
        lane=parked.message.key,
        state=AsideState.PARKED,
        since=datetime.now(UTC),
    )
    async with broker.database.transaction() as tx:
        await set_aside(tx, [item])


def run(source: Path, target: str, progress: Path, fatal: int) -> int | None:
    process = _PROCESSES.Process(
        target=killed.run, args=(f"embedded:///{source}", target, str(progress), fatal), daemon=True
    )
    process.start()
    process.join(60)
    return process.exitcode


async def check(source: Path, target: str, expected: Expected) -> None:
    """Each group reads what it had not read, in order, as it was; and what is set aside is known there."""
    there, back = connect(target), EmbeddedBroker(source)
    await there.open()
    await back.open()
    try:
        for (group, topic), unread in expected.unread.items():
            found = await read_all(there, expected.named(group), expected.named(topic), len(unread))
            if there.capabilities.model == "queue" and group == "billing":
                unread = [each for each in unread if each != expected.parked]
            assert by_key(each.message for each in found) == by_key(unread), f"{group} on {topic}"
            assert sum(lag.messages for lag in await back.lag(expected.named(group))) == 0, (
                "who begins there again repeats it"
            )
            again = [each for each in found if each.message == expected.parked]
            if group == "billing" and again:
                (letter,) = await list_parked(back.database)
                assert (letter.partition, letter.position) == (again[0].partition.number, again[0].position)
    finally:
        await back.close()
        await there.close()


def by_key(messages: Iterable[Message]) -> Mapping[str | None, list[Message]]:
    found: defaultdict[str | None, list[Message]] = defaultdict(list)
    for each in messages:
        found[each.key].append(each)
    found[None].sort(key=lambda each: each.id)
    return found


async def read_all(broker: Broker, group: str, topic: str, count: int) -> Sequence[Delivery]:
    """Everything that a group has to read."""
    if is_log(broker):
        stands = [lag for lag in await broker.lag(group) if lag.partition.topic == topic]
        assert len(stands) == TOPICS[topic.partition("-")[0]], "it has no position in some partition"
        return await broker.browse(topic, {lag.partition.number: lag.position for lag in stands}, 1_000)
    subscription = cast("QueueSubscription", await broker.subscribe(group, [topic]))
    found: list[Delivery] = []
    wait = timedelta(seconds=20)
    while deliveries := await subscription.fetch(100, 1 << 20, wait):
        found += deliveries
        if len(found) >= count - 1:
            wait = timedelta(milliseconds=500)
    await subscription.settle([Settlement(each, DONE) for each in found])
    await subscription.close()
    return found


async def killed_at_writes(
    folder: Path, target: Callable[[int], str], every: int = 1, kept: timedelta | None = timedelta(days=400)
) -> int:
    """Kill one move after its first write, another one after its second one, and so on; each is then run to its end.

    Returns after how many writes a move was done.
    """
    for fatal in range(1, 200, every):
        source, progress, url = folder / str(fatal) / "log.db", folder / str(fatal) / "move.json", target(fatal)
        expected = await prepare(source, new_id().replace("-", "")[-10:], kept)
        ended = await asyncio.to_thread(run, source, url, progress, fatal)
        assert ended in (0, -9)
        if ended == -9:
            assert await asyncio.to_thread(run, source, url, progress, 0) == 0
        await check(source, url, expected)
        if ended == 0:
            return fatal
    raise AssertionError("it makes more than 200 writes")


@pytest.mark.timeout(300)
async def test_a_move_to_another_file_is_killed_at_every_write(tmp_path: Path) -> None:
    assert await killed_at_writes(tmp_path, lambda fatal: f"embedded:///{tmp_path}/{fatal}/other.db") > 20


@pytest.mark.timeout(300)
async def test_a_move_to_postgresql_is_killed_at_every_write(tmp_path: Path, postgres_server: str) -> None:
    run = new_id().replace("-", "")[-10:]
    assert await killed_at_writes(tmp_path, lambda fatal: f"{postgres_server}?schema=moved_{run}_{fatal}") > 20


@pytest.mark.at_length
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "every"), [("kafka", 3), ("nats", 2), ("valkey", 1), ("rabbitmq", 2), ("rabbitmq-streams", 2)]
)
async def test_a_move_to_each_server_is_killed_at_its_writes(
    tmp_path: Path, server_url: Callable[[str], str], kind: str, every: int
) -> None:
    url = await asyncio.to_thread(server_url, kind)
    # What a stream keeps is a policy of the server, and a topic that declares it is refused.
    kept = None if kind == "rabbitmq-streams" else timedelta(days=400)
    assert await killed_at_writes(tmp_path, lambda _: url, every, kept) > 10
