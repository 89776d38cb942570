"""Faults of the road, of the server and of members, with topics that are streams: nothing is lost, and all goes on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import aio_pika
import pytest
from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Delivery, SeekTo, TopicSpec
from antiphon.errors import (
    AccessDeniedError,
    BrokerError,
    ConnectionLostError,
    PublishError,
    StoreCorruptError,
    UnknownTopicError,
)
from antiphon.events.message import Outgoing
from antiphon.testing.servers import RabbitServer
from tests.integration.rabbitmq.faults import NarrowServer, a_road, delete_queue
from tests.integration.rabbitmq.logs import Reading, count_of, opened, until_settled
from tests.integration.rabbitmq.messages import ROOM, SOON, a_name, ids, is_in_order, numbered, publish_surely, until

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with RabbitServer() as running:
        yield running


@pytest.fixture(scope="module")
def narrow(server: RabbitServer) -> Iterator[NarrowServer]:
    with NarrowServer() as running:
        yield running


async def test_a_connection_that_is_cut_in_the_middle_of_batches_costs_nothing(server: RabbitServer) -> None:
    topic, seen = a_name("orders"), list[Delivery]()
    async with a_road(server.url) as (road, url), opened(url, a_name("p")) as broker:
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        for start in range(0, 4000, 1000):
            publishing = asyncio.create_task(publish_surely(broker, numbered(topic, range(start, start + 1000))))
            await asyncio.sleep(0.05)
            road.cut()
            await publishing
        await until(lambda: count_of(seen) == 4000)
        await until_settled(broker, "payments")
        assert not any(isinstance(error, StoreCorruptError) for error in reading.errors)
        await reading.stop()
    assert road.cuts >= 4
    assert is_in_order(seen) or len(seen) > 4000  # a batch that is sent twice comes twice, and each time in order


async def test_a_server_that_stands_still_for_a_while_costs_nothing(server: RabbitServer) -> None:
    topic, seen = a_name("orders"), list[Delivery]()
    async with opened(server.url, a_name("p"), lease="2s") as broker:
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        await broker.publish(numbered(topic, range(100)))
        server.pause()
        publishing = asyncio.create_task(publish_surely(broker, numbered(topic, range(100, 200))))
        await asyncio.sleep(4)  # for longer than the lease
        server.go_on()
        await publishing
        await until(lambda: count_of(seen) == 200)
        await until_settled(broker, "payments")
        await reading.stop()
    assert is_in_order(seen)


async def test_a_paused_server_takes_no_partition_from_anybody(server: RabbitServer) -> None:
    topic, prefix = a_name("orders"), a_name("p")
    async with opened(server.url, prefix, lease="2s") as broker, opened(server.url, prefix, lease="2s") as other:
        seen: tuple[list[Delivery], list[Delivery]] = ([], [])
        brokers = zip((broker, other), seen, strict=True)
        readings = [Reading(await each.subscribe("payments", [topic]), mine) for each, mine in brokers]
        await until(lambda: all(len(each.subscription._readers) == 4 for each in readings))
        held = [set(each.subscription._readers) for each in readings]
        server.pause()
        await asyncio.sleep(4)
        server.go_on()
        await publish_surely(broker, numbered(topic, range(200)))
        await until(lambda: count_of([*seen[0], *seen[1]]) == 200)
        assert [set(each.subscription._readers) for each in readings] == held
        assert len(seen[0]) + len(seen[1]) == 200
        for each in readings:
            await each.stop()


async def test_a_server_that_stands_still_for_long_is_left_and_found_again(server: RabbitServer) -> None:
    topic, seen = a_name("orders"), list[Delivery]()
    async with opened(server.url, a_name("p"), heartbeat="1s") as broker:
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        await broker.publish(numbered(topic, range(100)))
        await until(lambda: count_of(seen) == 100)
        server.pause()
        await asyncio.sleep(0.3)  # some of its threads still run for a moment
        try:
            with pytest.raises(ConnectionLostError):
                await broker.publish(numbered(topic, range(100, 200)))
        finally:
            server.go_on()
        await publish_surely(broker, numbered(topic, range(100, 200)))
        await until(lambda: count_of(seen) == 200)
        await reading.stop()


async def test_members_that_come_and_go_every_moment_lose_nothing_and_keep_order(server: RabbitServer) -> None:
    topic, seen, prefix = a_name("orders"), list[Delivery](), a_name("p")
    async with opened(server.url, prefix) as steady, opened(server.url, prefix) as other:
        staying = Reading(await steady.subscribe("payments", [topic]), seen)

        async def come_and_go() -> None:
            for _ in range(6):
                reading = Reading(await other.subscribe("payments", [topic]), seen)
                await asyncio.sleep(0.5)
                await reading.stop()
                await asyncio.sleep(0.2)

        coming = asyncio.create_task(come_and_go())
        for start in range(0, 3000, 100):
            await steady.publish(numbered(topic, range(start, start + 100)))
            await asyncio.sleep(0.1)
        await coming
        await until(lambda: count_of(seen) == 3000)
        await until_settled(steady, "payments")
        await staying.stop()
    assert is_in_order(seen)
    # What a member had fetched and not committed when it was canceled comes again; it is a batch at most.
    assert len(seen) - 3000 <= 6 * 100


async def test_who_is_slow_keeps_its_partitions_and_may_commit_late(server: RabbitServer) -> None:
    topic, prefix = a_name("orders"), a_name("p")
    async with opened(server.url, prefix, lease="1s") as broker, opened(server.url, prefix, lease="1s") as other:
        slow, waiting = await broker.subscribe("payments", [topic]), await other.subscribe("payments", [topic])
        await until(lambda: len(slow._readers) == len(waiting._readers) == 4)
        slow.notices()
        await broker.publish(numbered(topic, range(40), keys=16))
        deliveries = await slow.fetch(100, ROOM, 10 * SOON)
        await asyncio.sleep(4)
        await slow.commit({each.partition: each.position for each in deliveries})
        assert slow.notices() == []
        others = await waiting.fetch(100, ROOM, 10 * SOON)
        assert not {each.partition for each in deliveries} & {each.partition for each in others}
        stand = {lag.partition: int(lag.position) for lag in await broker.lag("payments")}
        assert sum(stand.values()) == len(deliveries) > 0


MEMBER = """
import asyncio, sys
from datetime import timedelta
from antiphon.brokers import connect

async def main():
    broker = connect(sys.argv[1])
    await broker.open()
    subscription = await broker.subscribe("payments", [sys.argv[2]])
    while True:
        deliveries = await subscription.fetch(10, 1 << 20, timedelta(seconds=1))
        if deliveries:
            print(len(deliveries), flush=True)

asyncio.run(main())
"""


def a_member(url: str, topic: str) -> subprocess.Popen[bytes]:
    """A process that reads, and never commits."""
    return subprocess.Popen([sys.executable, "-c", MEMBER, url, topic], cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_a_dead_or_hanging_process_held_goes_to_another(server: RabbitServer, how: signal.Signals) -> None:
    topic, prefix, seen = a_name("orders"), a_name("p"), list[Delivery]()
    url = f"{server.url.replace('rabbitmq:', 'rabbitmq-streams:', 1)}?prefix={prefix}&lease=2s"
    async with opened(server.url, prefix, lease="2s") as broker:
        await broker.publish(numbered(topic, range(40), keys=16))
        child = a_member(url, topic)
        try:
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline)
            child.send_signal(how)
            survivor = Reading(await broker.subscribe("payments", [topic]), seen)
            await until(lambda: count_of(seen) == 40)
            assert len(seen) == 40
            await survivor.stop()
        finally:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()


async def test_what_the_server_finds_too_large_is_refused_alone(narrow: NarrowServer) -> None:
    topic, seen = a_name("orders"), list[Delivery]()
    async with opened(narrow.url, a_name("p")) as broker:
        batch = numbered(topic, range(9))
        large = Outgoing(topic, replace(batch[4].message, data=b"x" * (1 << 17)))
        with pytest.raises(PublishError, match="000004") as raised:
            await broker.publish([*batch[:4], large, *batch[5:]])
        assert {each.message_id: each.retryable for each in raised.value.refusals} == {"000004": False}
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        await until(lambda: count_of(seen) == 8)
        await reading.stop()


async def test_what_waits_for_longer_than_the_servers_patience_comes_once(narrow: NarrowServer) -> None:
    """The server closes the channel on which a paused partition was read ahead."""
    topic = a_name("orders")
    async with opened(narrow.url, a_name("p"), prefetch="10") as broker:
        subscription = await broker.subscribe("payments", [topic])
        await until(lambda: len(subscription._readers) == 8)
        subscription.pause_topic(topic)
        await broker.publish(numbered(topic, range(200)))
        await asyncio.sleep(7)
        assert not await subscription.fetch(100, ROOM, SOON)
        subscription.resume_topic(topic)
        seen: list[Delivery] = []
        reading = Reading(subscription, seen)
        await until(lambda: count_of(seen) == 200)
        assert len(seen) == 200
        assert is_in_order(seen)
        await reading.stop()


async def test_whoever_is_quiet_for_longer_than_the_servers_patience_still_hears_of_new_topics(
    narrow: NarrowServer,
) -> None:
    """What is read of a registry and of a course is acknowledged in time, however little it is."""
    prefix, seen = a_name("p"), list[Delivery]()
    async with opened(narrow.url, prefix, lease="60s") as broker, opened(narrow.url, prefix, lease="60s") as other:
        reading = Reading(await broker.subscribe("payments", ["orders"]), seen)
        await asyncio.sleep(8)
        await other.publish(numbered("products", range(10)))
        await until(lambda: "products" in broker._registry.topics)
        await broker.publish(numbered("orders", range(10)))
        await until(lambda: count_of(seen) == 10)
        await until_settled(broker, "payments")
        await reading.stop()


async def test_a_stream_that_somebody_deletes_is_reported_and_a_publish_makes_it_anew(server: RabbitServer) -> None:
    topic, prefix, seen = a_name("orders"), a_name("p"), list[Delivery]()
    async with opened(server.url, prefix) as broker:
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        await broker.publish(numbered(topic, range(100)))
        await until(lambda: count_of(seen) == 100)
        for number in range(8):
            await delete_queue(server.url, f"{prefix}:log/{topic}/{number}")
        async with asyncio.timeout(20):
            await asyncio.wait([reading.task])
        with pytest.raises(StoreCorruptError, match=f"'payments' reads is gone .*{topic}/"):
            reading.task.result()
        await reading.stop()
        await publish_surely(broker, numbered(topic, range(100, 200)))
        assert [state.messages for state in await broker.topics()] == [100]


async def test_a_group_whose_course_somebody_deletes_is_told_so(server: RabbitServer) -> None:
    topic, prefix, seen = a_name("orders"), a_name("p"), list[Delivery]()
    async with opened(server.url, prefix) as broker:
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        await broker.publish(numbered(topic, range(100)))
        await until(lambda: count_of(seen) == 100)
        await delete_queue(server.url, f"{prefix}:course/payments")
        async with asyncio.timeout(60):
            await asyncio.wait([reading.task])
        with pytest.raises(StoreCorruptError, match="course/payments"):
            reading.task.result()
        await reading.stop()


async def test_a_topic_that_is_not_there_is_made_by_a_publish_and_by_nothing_that_looks(server: RabbitServer) -> None:
    async with opened(server.url, a_name("p")) as broker:
        with pytest.raises(UnknownTopicError):
            await broker.browse("orders", SeekTo.START, 10)
        with pytest.raises(UnknownTopicError):
            await broker.seek("payments", "orders", SeekTo.START)
        assert await broker.topics() == []
        await broker.publish(numbered("orders", range(1)))
        assert [(state.name, state.messages) for state in await broker.topics()] == [("orders", 1)]


async def test_a_queue_of_somebody_else_is_no_stream_of_ours(server: RabbitServer) -> None:
    prefix = a_name("p")
    connection = await aio_pika.connect(server.url.replace("rabbitmq:", "amqp:", 1))
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(f"{prefix}:log/orders/0", durable=True)
        async with opened(server.url, prefix) as broker:
            with pytest.raises(BrokerError, match="log/orders/0") as raised:
                await broker.subscribe("payments", ["orders"])
            assert not raised.value.retryable


async def test_what_others_wrote_is_recognized_and_what_is_no_message_is_told(server: RabbitServer) -> None:
    prefix, topic, seen = a_name("p"), a_name("orders"), list[Delivery]()
    async with opened(server.url, prefix) as broker:
        await broker.ensure_topic(TopicSpec(topic, partitions=1))
        reading = Reading(await broker.subscribe("payments", [topic]), seen)
        connection = await aio_pika.connect(server.url.replace("rabbitmq:", "amqp:", 1))
        async with connection:
            exchange = (await connection.channel()).default_exchange
            for body in (
                b'{"eventType": "OrderPlaced", "eventId": "7", "data": {}}',
                b'{"specversion": "1.0", "id": "8", "source": "s", "type": "OrderPlaced", "data": {}}',
                b"rubbish",
            ):
                await exchange.publish(aio_pika.Message(body), f"{prefix}:log/{topic}/0")
        await until(lambda: len(seen) == 3)
        assert ids(seen)[:2] == ["7", "8"]
        assert [each.problem is None for each in seen] == [True, True, False]
        assert seen[2].message.data == b"rubbish"
        await reading.stop()


async def test_who_may_not_enter_is_told_so_at_once(server: RabbitServer) -> None:
    url = server.url.replace("rabbitmq:", "rabbitmq-streams:", 1)
    with pytest.raises(AccessDeniedError, match="user and the password") as raised:
        await connect(url.replace("guest:guest", "guest:wrong")).open()
    assert "wrong" not in str(raised.value)
    with pytest.raises(AccessDeniedError, match="virtual host"):
        await connect(f"{url}/nowhere").open()


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ConnectionLostError, match="cannot be reached"):
        await connect("rabbitmq-streams://guest:guest@127.0.0.1:9").open()
    assert loop.time() - began < timedelta(seconds=2).total_seconds()
