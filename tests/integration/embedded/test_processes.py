"""Do processes share the log as promised when they join, die and hang?"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import NoticeKind, Partition
from tests.integration.embedded.member import GROUP, ROOM, TOPIC
from tests.integration.embedded.messages import a_batch, ids
from tests.integration.embedded.processes import Child

Spawn = Callable[..., Child]


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_three_processes_share_a_group_and_each_message_is_read_once(
    broker: EmbeddedBroker, spawn: Spawn
) -> None:
    members = [spawn("consume") for _ in range(3)]
    await until(lambda: sorted(len(member.owned()) for member in members) == [2, 3, 3])
    sent: list[str] = []
    for _ in range(20):
        batch = a_batch(TOPIC, 100)
        await broker.publish(batch)
        sent += [message.id for _, message in batch]
    await until(lambda: sum(len(member.read()) for member in members) >= len(sent))
    read = [each for member in members for each in member.read()]
    assert Counter(id for _, _, id in read) == Counter(sent)
    assert all(member.read() for member in members)
    for member in members:
        assert {number for number, _, _ in member.read()} <= member.owned()


async def test_what_a_killed_process_did_not_commit_is_read_elsewhere_within_a_second(
    broker: EmbeddedBroker, spawn: Spawn
) -> None:
    first = spawn("consume")
    await until(lambda: len(first.owned()) == 8)
    second = spawn("consume")
    await until(lambda: len(second.owned()) == 4)
    await asyncio.sleep(0.3)
    killed = first.kill()
    await until(lambda: len(second.owned()) == 8)
    taken_over = [each["at"] for each in second.told if each.get("notice") == "assigned"][-1] - killed
    assert taken_over < 1.0
    batch = a_batch(TOPIC, 64)
    await broker.publish(batch)
    await until(lambda: len(second.read()) >= 64)
    assert sorted(id for _, _, id in second.read()) == sorted(message.id for _, message in batch)


async def test_a_process_is_known_to_be_dead_though_a_child_that_it_forked_lives_on(spawn: Spawn) -> None:
    first = spawn("fork")
    await until(lambda: len(first.owned()) == 8)
    second = spawn("consume")
    await until(lambda: len(second.owned()) == 4)
    killed = first.kill()
    try:
        await until(lambda: len(second.owned()) == 8)
    finally:
        os.kill(next(each["child"] for each in first.told if "child" in each), signal.SIGKILL)
    taken_over = [each["at"] for each in second.told if each.get("notice") == "assigned"][-1] - killed
    assert taken_over < 1.0


async def test_a_restarted_process_reads_within_a_second_of_the_death_of_the_old_one(
    broker: EmbeddedBroker, path: Path, spawn: Spawn
) -> None:
    old = spawn("consume")
    await until(lambda: len(old.owned()) == 8)
    old.kill()
    await broker.publish(a_batch(TOPIC, 10))
    began = time.monotonic()
    restarted = EmbeddedBroker(path)
    await restarted.open()
    subscription = await restarted.subscribe(GROUP, [TOPIC])
    assert len(await subscription.fetch(100, ROOM, timedelta(seconds=5))) > 0
    assert time.monotonic() - began < 1.0
    await restarted.close()


async def test_a_hung_process_keeps_its_partitions_for_the_lease_and_cannot_commit_afterwards(
    broker: EmbeddedBroker, path: Path, spawn: Spawn
) -> None:
    hung = spawn("consume", 1.0)
    await until(lambda: len(hung.owned()) == 8)
    # Between two of its heartbeats: one that hangs inside a write keeps everybody from writing.
    await asyncio.sleep(0.12)
    hung.stop()
    await broker.publish(a_batch(TOPIC, 30))
    began = time.monotonic()
    other = EmbeddedBroker(path, lease=timedelta(seconds=1))
    await other.open()
    subscription = await other.subscribe(GROUP, [TOPIC])
    assert len(await subscription.fetch(100, ROOM, timedelta(seconds=5))) > 0
    assert 0.3 < time.monotonic() - began < 3.0
    held = {p for kind, ps in subscription.notices() if kind is NoticeKind.ASSIGNED for p in ps}
    assert len(held) == 8
    before = {lag.partition: lag.position for lag in await other.lag(GROUP)}
    hung.go_on()
    hung.wait_for(lambda told: any(each.get("notice") == "lost" for each in told))
    assert {lag.partition: lag.position for lag in await other.lag(GROUP)} == before
    await other.close()


async def test_messages_published_elsewhere_wake_a_reader_soon(broker: EmbeddedBroker, spawn: Spawn) -> None:
    member = spawn("consume")
    await until(lambda: len(member.owned()) == 8)
    waits: list[float] = []
    for number in range(20):
        published = time.time()
        await broker.publish(a_batch(TOPIC, 1))
        await until(lambda n=number: len(member.read()) > n)
        waits.append([each["at"] for each in member.told if "read" in each][-1] - published)
        await asyncio.sleep(0.02 * (number % 5))
    assert sorted(waits)[15] < 0.02


async def test_an_idle_process_takes_below_one_percent_of_a_core(spawn: Spawn) -> None:
    child = spawn("idle")
    child.wait_until_told("share")
    assert child.told[-1]["share"] < 0.01


async def test_a_rolling_restart_loses_and_repeats_nothing(path: Path, broker: EmbeddedBroker) -> None:
    sent: list[str] = []
    read: list[str] = []
    members: list[tuple[EmbeddedBroker, asyncio.Task[None]]] = []

    async def consume(member: EmbeddedBroker) -> None:
        subscription = await member.subscribe(GROUP, [TOPIC])
        while True:
            deliveries = await subscription.fetch(20, ROOM, timedelta(seconds=1))
            subscription.notices()
            marks: dict[Partition, str] = {d.partition: d.position for d in deliveries}
            await asyncio.shield(subscription.commit(marks))
            read.extend(ids(deliveries))

    async def add() -> None:
        member = EmbeddedBroker(path)
        await member.open()
        members.append((member, asyncio.create_task(consume(member))))

    async def remove() -> None:
        member, task = members.pop(0)
        await until(lambda: len(read) == len(sent))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await member.close()

    for _ in range(3):
        await add()
    for _ in range(6):
        batch = a_batch(TOPIC, 40)
        await broker.publish(batch)
        sent += [message.id for _, message in batch]
        await add()
        await remove()
    await until(lambda: len(read) >= len(sent))
    assert Counter(read) == Counter(sent)
    while members:
        await remove()
