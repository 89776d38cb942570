"""Whatever happens to the server or the way to it: what was confirmed is read, and everything goes on by itself."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.nats import NatsBroker
from antiphon.brokers.nats.subscription import NatsSubscription
from antiphon.brokers.ports import LogSubscription, NoticeKind, Partition, SeekTo, Start, SubscribeOptions, TopicSpec
from antiphon.errors import (
    BrokerError,
    ConnectionLostError,
    DataLostError,
    PositionLostError,
    PublishError,
    UnknownTopicError,
)
from antiphon.events.message import Outgoing
from antiphon.testing.conformance.suite import a_message
from antiphon.testing.servers import NatsServer
from tests.integration.nats.tools import all_of, ids, never, numbered, opened, persistently, read_until, until
from tests.integration.postgres.cutting import road_to

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


@pytest.fixture
async def broker(server: NatsServer) -> AsyncIterator[NatsBroker]:
    broker = await opened(f"{server.url}?lease=2s&timeout=2s")
    yield broker
    await broker.close()


def in_first_order(found: list[str], sent: list[Outgoing], key: str) -> bool:
    """Whether the messages of a key came for the first time in the order of their publishing."""
    first = {id: place for place, id in reversed(list(enumerate(found)))}
    places = [first[each.message.id] for each in sent if each.message.key == key]
    return places == sorted(places)


async def test_a_restart_loses_nothing_and_everybody_goes_on(server: NatsServer, broker: NatsBroker) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    sent = numbered(300)
    await broker.publish(sent[:100])
    reading = asyncio.create_task(read_until(subscription, all_of(sent)))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(server.stop)
    publishing = asyncio.create_task(persistently(broker, sent[100:]))
    await asyncio.sleep(0.3)
    assert not publishing.done()
    await asyncio.to_thread(server.start)
    await publishing
    await reading
    assert sum(lag.messages for lag in await broker.lag("payments")) == 0


async def test_kills_in_the_middle_of_batches_cost_nothing_and_no_order_within_a_key(
    server: NatsServer, broker: NatsBroker
) -> None:
    await broker.ensure_topic(TopicSpec("orders", partitions=2))
    subscription = await broker.subscribe("payments", ["orders"])
    sent = numbered(20_000, keys=5)
    publishing = asyncio.create_task(persistently(broker, sent))
    reading = asyncio.create_task(read_until(subscription, all_of(sent)))
    for _ in range(3):
        await asyncio.sleep(0.15)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    await publishing
    found = ids(await reading)
    assert all(in_first_order(found, sent, f"k{key}") for key in range(5))
    (state,) = await broker.topics()
    assert state.messages == len(sent), "the server recognizes what came before"


async def test_a_cut_in_the_middle_of_a_batch_keeps_order_and_doubles_nothing(server: NatsServer) -> None:
    async with road_to(server.port) as (road, port):
        broker = await opened(f"nats://127.0.0.1:{port}?timeout=2s")
        await broker.ensure_topic(TopicSpec("orders", partitions=2))
        subscription = await broker.subscribe("payments", ["orders"])
        sent = numbered(6_000, keys=3, size=500)
        publishing = asyncio.create_task(persistently(broker, sent))
        for _ in range(6):
            await asyncio.sleep(0.05)
            road.cut()
        await publishing
        found = ids(await read_until(subscription, all_of(sent)))
        assert all(in_first_order(found, sent, f"k{key}") for key in range(3))
        assert [state.messages for state in await broker.topics()] == [len(sent)]
        await broker.close()


async def test_a_confirmation_that_was_lost_is_no_commit_that_was_lost(server: NatsServer) -> None:
    async with road_to(server.port) as (road, port):
        broker = await opened(f"nats://127.0.0.1:{port}?timeout=0.5s")
        subscription = await broker.subscribe("payments", ["orders"])
        await broker.publish(numbered(10))
        deliveries = await read_until(subscription, lambda found: len(found) == 10, commit=False)
        watermarks = {each.partition: each.position for each in deliveries}
        road.holding = True
        with pytest.raises(ConnectionLostError):
            await subscription.commit(watermarks)
        road.holding = False
        road.cut()
        await commit_persistently(subscription, watermarks)
        assert all(notice.kind is NoticeKind.ASSIGNED for notice in subscription.notices())
        assert sum(lag.messages for lag in await broker.lag("payments")) == 0
        await broker.close()


async def commit_persistently(subscription: LogSubscription, watermarks: dict[Partition, str]) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await subscription.commit(watermarks)
            except ConnectionLostError:
                await asyncio.sleep(0.05)


async def test_a_wiped_server_is_reported_to_readers_and_writers_and_never_begun_anew(
    server: NatsServer, broker: NatsBroker
) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(10))
    await asyncio.to_thread(server.stop)
    shutil.rmtree(server._folder / "data")
    await asyncio.to_thread(server.start)
    with pytest.raises(DataLostError, match="gone from"):
        await persistently(broker, numbered(1))
    with pytest.raises(DataLostError, match="gone from"):
        await read_until(subscription, never)
    with pytest.raises(DataLostError, match="gone from"):
        await broker.subscribe("others", ["orders"])
    assert await broker.topics() == []


async def test_a_topic_that_was_deleted_and_made_again_is_reported_until_the_group_is_moved(broker: NatsBroker) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(10))
    await read_until(subscription, lambda found: len(found) == 10)
    stream = broker.native.jetstream()  # type: ignore[attr-defined]
    await stream.delete_stream("orders")
    with pytest.raises(DataLostError, match="topic 'orders' is gone"):
        await read_until(subscription, never)
    with pytest.raises(DataLostError, match="topic 'orders' is gone"):
        await broker.publish(numbered(1))
    await broker.ensure_topic(TopicSpec("orders"))
    with pytest.raises(DataLostError, match="was made anew"):
        await read_until(subscription, lambda found: False)
    sent = numbered(5)
    await broker.publish(sent)
    await broker.seek("payments", "orders", SeekTo.START)
    assert sorted(ids(await read_until(subscription, lambda found: len(found) == 5))) == sorted(ids(sent))


async def test_a_paused_server_takes_no_partition_from_anybody(server: NatsServer, broker: NatsBroker) -> None:
    other = await opened(f"{server.url}?lease=2s&timeout=2s")
    members = [await each.subscribe("payments", ["orders"]) for each in (broker, other)]
    await shared(members)
    server.pause()
    await asyncio.sleep(5)
    with pytest.raises(ConnectionLostError):
        await broker.publish(numbered(1))
    server.go_on()
    sent = numbered(100)
    await persistently(broker, sent)
    found = await asyncio.gather(*(read_for(member, seconds=3) for member in members))
    assert set(ids(found[0]) + ids(found[1])) >= set(ids(sent))
    kinds = {notice.kind for member in members for notice in member.notices()}
    assert kinds <= {NoticeKind.ASSIGNED}
    await other.close()


async def shared(members: list[NatsSubscription], partitions: int = 8) -> None:
    """Return when all partitions are given out, and each has some."""

    def is_shared() -> bool:
        held = [len(list(member._held)) for member in members]
        return all(held) and sum(held) == partitions

    await until(is_shared)
    for member in members:
        member.notices()


async def read_for(subscription: LogSubscription, seconds: float) -> list[object]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    return await read_until(subscription, lambda found: loop.time() > end)  # type: ignore[return-value]


async def test_members_that_come_and_go_all_the_time_lose_nothing_and_keep_order(server: NatsServer) -> None:
    brokers = [await opened(f"{server.url}?lease=2s") for _ in range(3)]
    found: list[str] = []
    sent = numbered(1500, keys=20)
    stop = asyncio.Event()

    async def come_and_go(broker: NatsBroker, stay: float) -> None:
        while not stop.is_set():
            member = await broker.subscribe("payments", ["orders"])
            loop = asyncio.get_running_loop()
            until = loop.time() + stay
            while loop.time() < until and not stop.is_set():
                deliveries = await member.fetch(50, 1 << 20, timedelta(seconds=0.1))
                member.notices()
                found.extend(ids(deliveries))
                await member.commit({each.partition: each.position for each in deliveries})
            await member.close()

    members = [asyncio.create_task(come_and_go(broker, 0.7 + n / 3)) for n, broker in enumerate(brokers)]
    for start in range(0, len(sent), 100):
        await brokers[0].publish(sent[start : start + 100])
        await asyncio.sleep(0.3)
    await until(lambda: set(ids(sent)) <= set(found))
    stop.set()
    await asyncio.gather(*members)
    assert all(in_first_order(found, sent, f"k{key}") for key in range(20))
    assert len(found) < 1.2 * len(sent)
    for broker in brokers:
        await broker.close()


async def test_who_is_slow_keeps_its_partitions_and_may_commit_late(broker: NatsBroker) -> None:
    slow = await broker.subscribe("payments", ["orders"])
    waiting = await broker.subscribe("payments", ["orders"])
    await shared([slow, waiting])
    await broker.publish(numbered(40, keys=16))
    deliveries = await slow.fetch(100, 1 << 20, timedelta(seconds=2))
    await asyncio.sleep(5)
    await slow.commit({each.partition: each.position for each in deliveries})
    assert slow.notices() == []
    others = await waiting.fetch(100, 1 << 20, timedelta(seconds=2))
    assert not {each.partition for each in deliveries} & {each.partition for each in others}


MEMBER = """
import asyncio, sys
from datetime import timedelta
from antiphon.brokers import connect

async def main():
    broker = connect(sys.argv[1])
    await broker.open()
    subscription = await broker.subscribe("payments", ["orders"])
    while True:
        deliveries = await subscription.fetch(10, 1 << 20, timedelta(seconds=1))
        if deliveries:
            print(len(deliveries), flush=True)

asyncio.run(main())
"""


def a_member(url: str) -> subprocess.Popen[str]:
    """A process that reads, and never commits."""
    return subprocess.Popen([sys.executable, "-c", MEMBER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_a_dead_or_hanging_process_held_goes_to_another(
    server: NatsServer, broker: NatsBroker, how: signal.Signals
) -> None:
    sent = numbered(40, keys=16)
    await broker.publish(sent)
    child = a_member(f"{server.url}?lease=2s")
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline)
        child.send_signal(how)
        survivor = await broker.subscribe("payments", ["orders"])
        assert sorted(ids(await read_until(survivor, all_of(sent)))) == sorted(ids(sent))
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


async def test_what_is_too_large_is_named_and_the_rest_is_held(broker: NatsBroker) -> None:
    limit = broker.capabilities.max_message_bytes
    assert limit is not None
    small, large, wordy = a_message("a"), a_message("b", b"x" * (limit + 1)), a_message("c", b"x" * limit)
    wordy_headers = Outgoing("orders", a_message("d" * 9000, b"x" * limit))
    outgoing = [Outgoing("orders", each) for each in (small, large, wordy)]
    with pytest.raises(PublishError) as raised:
        await broker.publish([*outgoing, wordy_headers])
    assert [refusal.message_id for refusal in raised.value.refusals] == [large.id, wordy_headers.message.id]
    assert [state.messages for state in await broker.topics()] == [2]


async def test_a_message_that_the_stream_refuses_stops_its_key_and_no_other(broker: NatsBroker) -> None:
    await broker.ensure_topic(TopicSpec("orders"))
    stream = broker.native.jetstream()  # type: ignore[attr-defined]
    config = (await stream.stream_info("orders")).config
    config.max_msg_size = 5000
    await stream.update_stream(config)
    sent = numbered(6, keys=2)
    sent[2] = Outgoing("orders", a_message("k0", b"x" * 6000))
    with pytest.raises(PublishError, match="message size exceeds maximum") as raised:
        await broker.publish(sent)
    assert [refusal.message_id for refusal in raised.value.refusals] == [sent[2].message.id, sent[4].message.id]
    assert [refusal.retryable for refusal in raised.value.refusals] == [False, True]
    assert [state.messages for state in await broker.topics()] == [4]


async def test_what_is_published_again_is_recognized(broker: NatsBroker) -> None:
    sent = numbered(50)
    await broker.publish(sent)
    await broker.publish([*sent, *numbered(1)])
    assert [state.messages for state in await broker.topics()] == [51]


async def test_a_topic_that_is_not_there_is_made_by_a_publish_and_by_nothing_that_looks(broker: NatsBroker) -> None:
    with pytest.raises(UnknownTopicError):
        await broker.browse("orders", SeekTo.START, 10)
    with pytest.raises(UnknownTopicError):
        await broker.seek("payments", "orders", SeekTo.START)
    assert await broker.topics() == []
    await broker.publish(numbered(1))
    assert [state.name for state in await broker.topics()] == ["orders"]


async def test_a_stream_of_somebody_else_is_no_topic(broker: NatsBroker) -> None:
    stream = broker.native.jetstream()  # type: ignore[attr-defined]
    await stream.add_stream(name="orders", subjects=["elsewhere.>"])
    with pytest.raises(BrokerError, match="is no topic"):
        await broker.publish(numbered(1))


async def test_what_others_wrote_is_recognized_and_what_is_no_message_is_told(broker: NatsBroker) -> None:
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    publish = broker.native.publish  # type: ignore[attr-defined]
    await publish("orders.0", b'{"eventType": "OrderPlaced", "eventId": "7", "data": {}}')
    await publish("orders.0", b'{"specversion": "1.0", "id": "8", "source": "s", "type": "OrderPlaced", "data": {}}')
    await publish("orders.0", b"{}", headers={"ce-specversion": "1.0", "ce-id": "9", "ce-source": "s", "ce-type": "T"})
    await publish("orders.0", b"rubbish", headers={"Why": "nobody knows"})
    subscription = await broker.subscribe("payments", ["orders"])
    found = await read_until(subscription, lambda found: len(found) == 4)
    assert ids(found)[:3] == ["7", "8", "9"]
    assert [each.problem is None for each in found] == [True, True, True, False]
    assert (found[3].message.data, found[3].message.extensions) == (b"rubbish", {"Why": "nobody knows"})


@pytest.mark.parametrize("lost", [Start.STOP, Start.START])
async def test_a_reader_that_retention_overtakes_while_it_reads_is_told(broker: NatsBroker, lost: Start) -> None:
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    subscription = await broker.subscribe("payments", ["orders"], SubscribeOptions(lost=lost))
    await broker.publish(numbered(2000))
    first = await subscription.fetch(10, 1 << 20, timedelta(seconds=2))
    await subscription.commit({each.partition: each.position for each in first})
    stream = broker.native.jetstream()  # type: ignore[attr-defined]
    await stream.purge_stream("orders", seq=1501)
    if lost is Start.STOP:
        with pytest.raises(PositionLostError):
            await read_until(subscription, never)
        return
    seen = first + await read_until(subscription, lambda found: found and found[-1].position == "2000")
    await asyncio.sleep(1)
    (lag,) = await broker.lag("payments")
    assert (lag.messages, lag.skipped) == (0, 2000 - len(seen))


async def test_an_idle_partition_is_not_blamed_for_what_retention_took_of_others(broker: NatsBroker) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    stream = broker.native.jetstream()  # type: ignore[attr-defined]
    for _ in range(4):
        await broker.publish(numbered(100, keys=1))
        await read_until(subscription, lambda found: len(found) == 100)
        await asyncio.sleep(1)
        await stream.purge_stream("orders")
    await subscription.close()
    again = await broker.subscribe("payments", ["orders"])
    sent = numbered(10)
    await broker.publish(sent)
    await read_until(again, all_of(sent))
    assert [lag.skipped for lag in await broker.lag("payments")] == [0] * 8


async def test_a_server_that_is_not_there_is_told_at_once(server: NatsServer) -> None:
    server.stop()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ConnectionLostError, match="is it running"):
        await opened(server.url)
    assert loop.time() - began < 1


async def test_an_old_server_is_refused() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576,"headers":true}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    old = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = old.sockets[0].getsockname()[1]
    with pytest.raises(BrokerError, match=r"at least 2\.12"):
        await opened(f"nats://127.0.0.1:{port}")
    old.close()
