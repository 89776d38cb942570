"""What becomes of publishers and readers when the server or the way to it fails: nothing is lost, and all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import pytest
from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, Delivery, Reply, Start, SubscribeOptions
from antiphon.brokers.rabbitmq import RabbitBroker
from antiphon.errors import AccessDeniedError, ConnectionLostError, DataLostError, PublishError
from antiphon.events.message import Outgoing
from antiphon.testing.servers import RabbitServer
from tests.integration.rabbitmq.brokers import a_broker
from tests.integration.rabbitmq.faults import NarrowServer, a_road, delete_queue, settle_surely, wipe
from tests.integration.rabbitmq.messages import (
    ROOM,
    SOON,
    a_name,
    ids,
    is_in_order,
    numbered,
    publish_surely,
    until,
    work,
)

T = TypeVar("T")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with RabbitServer() as running:
        yield running


@pytest.fixture(scope="module")
def narrow(server: RabbitServer) -> Iterator[NarrowServer]:
    with NarrowServer() as running:
        yield running


@asynccontextmanager
async def opened(url: str, prefix: str, **options: str) -> AsyncIterator[RabbitBroker]:
    broker = a_broker(url, prefix, **options)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def surely(ask: Callable[[], Awaitable[T]]) -> T:
    """Its answer, asked again while the server is not up yet."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except ConnectionLostError:
                await asyncio.sleep(0.2)


@asynccontextmanager
async def reading(broker: Broker, group: str, topic: str, seen: list[Delivery]) -> AsyncIterator[None]:
    subscription = await surely(lambda: broker.subscribe(group, [topic]))
    task = asyncio.create_task(work(subscription, seen))  # type: ignore[arg-type]  # it is a queue
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await subscription.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_is_restarted_loses_nothing_and_all_goes_on(server: RabbitServer, how: str) -> None:
    topic, group, seen = a_name("orders"), a_name("payments"), list[Delivery]()
    async with opened(server.url, a_name("p")) as broker, reading(broker, group, topic, seen):
        await broker.publish(numbered(topic, range(500)))
        await until(lambda: len(seen) > 50)
        await asyncio.sleep(3)  # queues that were made a moment before a crash may be lost with it
        await broker.publish(numbered(topic, range(500, 510)))
        await asyncio.to_thread(server.stop if how == "stop" else server.kill)
        with pytest.raises(ConnectionLostError):
            await broker.publish(numbered(topic, range(510, 511)))
        server.start()  # not in another thread, whose end it would not survive
        await publish_surely(broker, numbered(topic, range(510, 1000)))
        await until(lambda: len(set(ids(seen))) == 1000)
        await asyncio.sleep(0.3)
        assert sum(lag.messages for lag in await surely(lambda: broker.lag(group))) == 0
    assert is_in_order(seen)


async def test_a_connection_that_is_cut_in_the_middle_of_batches_costs_nothing(server: RabbitServer) -> None:
    topic, group, seen = a_name("orders"), a_name("payments"), list[Delivery]()
    async with (
        a_road(server.url) as (road, url),
        opened(url, a_name("p")) as broker,
        reading(broker, group, topic, seen),
    ):
        for start in range(0, 4000, 1000):
            publishing = asyncio.create_task(publish_surely(broker, numbered(topic, range(start, start + 1000))))
            await asyncio.sleep(0.05)
            road.cut()
            await publishing
        await until(lambda: len(set(ids(seen))) == 4000)
    assert is_in_order(seen) or len(seen) > 4000  # a batch that is sent twice comes twice, and each time in order


async def test_a_server_that_stands_still_for_a_while_costs_nothing(server: RabbitServer) -> None:
    topic, group, seen = a_name("orders"), a_name("payments"), list[Delivery]()
    async with opened(server.url, a_name("p")) as broker, reading(broker, group, topic, seen):
        await broker.publish(numbered(topic, range(100)))
        server.pause()
        publishing = asyncio.create_task(publish_surely(broker, numbered(topic, range(100, 200))))
        await asyncio.sleep(3)
        server.go_on()
        await publishing
        await until(lambda: len(set(ids(seen))) == 200)
    assert is_in_order(seen)


async def test_a_server_that_stands_still_for_long_is_left_and_found_again(server: RabbitServer) -> None:
    topic, group, seen = a_name("orders"), a_name("payments"), list[Delivery]()
    async with opened(server.url, a_name("p"), heartbeat="1s") as broker, reading(broker, group, topic, seen):
        await broker.publish(numbered(topic, range(100)))
        await until(lambda: len(seen) == 100)
        server.pause()
        try:
            with pytest.raises(ConnectionLostError):
                await broker.publish(numbered(topic, range(100, 200)))
        finally:
            server.go_on()
        await publish_surely(broker, numbered(topic, range(100, 200)))
        await until(lambda: len(set(ids(seen))) == 200)


async def test_a_server_that_was_emptied_is_reported_to_readers_and_can_be_begun_anew(
    server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    with RabbitServer() as first:
        topic, group, seen = a_name("orders"), a_name("payments"), list[Delivery]()
        async with opened(first.url, a_name("p")) as broker:
            subscription = await broker.subscribe(group, [topic])
            task = asyncio.create_task(work(subscription, seen))
            await broker.publish(numbered(topic, range(100)))
            await until(lambda: len(seen) == 100)
            wipe(first)
            with pytest.raises(DataLostError, match="gone"):
                await asyncio.wait_for(task, 60)
            assert "lost everything" in caplog.text
            await subscription.close()
            async with reading(broker, group, topic, seen):
                await publish_surely(broker, numbered(topic, range(100, 200)))
                await until(lambda: len(set(ids(seen))) == 200)


async def test_a_queue_that_somebody_deletes_is_reported(server: RabbitServer) -> None:
    topic, group, prefix = a_name("orders"), a_name("payments"), a_name("p")
    async with opened(server.url, prefix) as broker:
        subscription = await broker.subscribe(group, [topic])
        await subscription.fetch(1, ROOM, SOON)
        await delete_queue(server.url, f"{prefix}.{topic}/0")
        with pytest.raises(DataLostError, match=f"{topic}/0 is gone"):
            await asyncio.wait_for(work(subscription, []), 20)


async def test_publishing_to_a_queue_that_somebody_deleted_makes_it_anew(server: RabbitServer) -> None:
    topic, prefix = a_name("orders"), a_name("p")
    async with opened(server.url, prefix) as broker:
        await broker.publish(numbered(topic, range(100)))
        await delete_queue(server.url, f"{prefix}.{topic}/0")
        await broker.publish(numbered(topic, range(100, 200)))
        (state,) = await broker.topics()
        assert state.messages >= 100 + 100 * 7 // 8 - 30


async def test_members_that_come_and_go_every_moment_lose_nothing_and_keep_order(server: RabbitServer) -> None:
    topic, group, seen, prefix = a_name("orders"), a_name("payments"), list[Delivery](), a_name("p")
    async with (
        opened(server.url, prefix) as steady,
        opened(server.url, prefix) as other,
        reading(steady, group, topic, seen),
    ):

        async def come_and_go() -> None:
            for _ in range(6):
                async with reading(other, group, topic, seen):
                    await asyncio.sleep(0.5)
                await asyncio.sleep(0.2)

        coming = asyncio.create_task(come_and_go())
        for start in range(0, 3000, 100):
            await steady.publish(numbered(topic, range(start, start + 100)))
            await asyncio.sleep(0.1)
        await coming
        await until(lambda: len(set(ids(seen))) == 3000)
    assert len(seen) < 3300, "what a member had in hand when it left may come again, and no more"
    assert is_in_order(seen)
    # What was on its way to a member that left counts as delivered, though it never came.
    assert sum(delivery.attempt > 1 for delivery in seen) < 300


async def test_a_member_whose_connection_is_cut_goes_on_with_what_it_has_in_hand(server: RabbitServer) -> None:
    """What it works on comes back to it unseen, and is settled though it came by another connection."""
    topic, group = a_name("orders"), a_name("payments")
    async with a_road(server.url) as (road, url), opened(url, a_name("p")) as broker:
        subscription = await broker.subscribe(group, [topic])
        await broker.publish(numbered(topic, range(40)))
        in_hand: list[Delivery] = []
        while len(in_hand) < 10:
            in_hand += await subscription.fetch(10 - len(in_hand), ROOM, SOON)
        road.cut()
        rest: list[Delivery] = []
        task = asyncio.create_task(work(subscription, rest))
        await until(lambda: len(rest) == 30)
        await settle_surely(subscription, in_hand)
        await asyncio.sleep(0.3)
        task.cancel()
        assert sorted(ids([*in_hand, *rest])) == [f"{n:06}" for n in range(40)]
        assert sum(lag.messages for lag in await broker.lag(group)) == 0


async def test_what_the_server_finds_too_large_is_refused_alone(narrow: NarrowServer) -> None:
    topic = a_name("orders")
    async with opened(narrow.url, a_name("p")) as broker:
        batch = numbered(topic, range(9))
        large = Outgoing(topic, replace(batch[4].message, data=b"x" * (1 << 17)))
        with pytest.raises(PublishError, match="000004") as raised:
            await broker.publish([*batch[:4], large, *batch[5:]])
        assert {each.message_id: each.retryable for each in raised.value.refusals} == {"000004": False}
        seen: list[Delivery] = []
        async with reading(broker, a_name("payments"), topic, seen):
            await until(lambda: len(set(ids(seen))) == 8)


async def test_a_reply_that_the_server_finds_too_large_is_not_tried_again(narrow: NarrowServer) -> None:
    async with opened(narrow.url, a_name("p")) as broker:
        box = await broker.open_reply_box("asker")
        small, large = numbered("unused", range(2))
        too_large = replace(large.message, data=b"x" * (1 << 17))
        with pytest.raises(PublishError) as caught:
            await broker.reply([Reply(box.address, small.message), Reply(box.address, too_large)])
        (refusal,) = caught.value.refusals
        assert (refusal.message_id, refusal.retryable) == (too_large.id, False)
        assert {each.id for each in await box.fetch(timedelta(seconds=5))} == {small.message.id}
        with pytest.raises(PublishError) as caught:
            await broker.write_dead_letters("payments", [Outgoing("unused", too_large)])
        assert not caught.value.refusals[0].retryable


async def test_a_handler_that_outlasts_the_servers_patience_goes_on_and_settles(narrow: NarrowServer) -> None:
    """The server closes the channel; what is in hand comes back to it unseen."""
    topic, group = a_name("orders"), a_name("payments")
    async with opened(narrow.url, a_name("p")) as broker:
        subscription = await broker.subscribe(group, [topic])
        await broker.publish(numbered(topic, range(1)))
        (delivery,) = await subscription.fetch(1, ROOM, 5 * SOON)
        for _ in range(12):
            await asyncio.sleep(0.5)
            await subscription.extend([delivery])
        await settle_surely(subscription, [delivery])
        await asyncio.sleep(0.3)
        assert not await subscription.fetch(1, ROOM, SOON)
        assert sum(lag.messages for lag in await broker.lag(group)) == 0


async def test_whoever_is_quiet_for_longer_than_the_servers_patience_still_hears_of_new_topics(
    narrow: NarrowServer,
) -> None:
    """What is read of the registry is acknowledged in time, however little it is."""
    prefix, topic, seen = a_name("p"), a_name("products"), list[Delivery]()
    async with opened(narrow.url, prefix) as broker:
        await broker.publish(numbered(a_name("orders"), range(1)))
        await asyncio.sleep(8)
        async with reading(broker, a_name("payments"), topic, seen):
            await broker.publish(numbered(topic, range(10)))
            await until(lambda: len(set(ids(seen))) == 10)


async def test_who_may_not_enter_is_told_so_at_once(server: RabbitServer) -> None:
    broker = connect(server.url.replace("guest:guest", "guest:wrong"))
    with pytest.raises(AccessDeniedError, match="user and the password") as raised:
        await broker.open()
    assert "wrong" not in str(raised.value)
    nowhere = connect(f"{server.url}/nowhere")
    with pytest.raises(AccessDeniedError, match="virtual host"):
        await nowhere.open()


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    broker = connect("rabbitmq://guest:guest@127.0.0.1:9")
    with pytest.raises(ConnectionLostError, match="cannot be reached"):
        await broker.open()


async def test_a_group_that_starts_at_the_end_leaves_what_waits_to_others(server: RabbitServer) -> None:
    topic = a_name("orders")
    async with opened(server.url, a_name("p")) as broker:
        await broker.publish(numbered(topic, range(10)))
        late = await broker.subscribe(a_name("late"), [topic], SubscribeOptions(start=Start.END))
        assert not await late.fetch(10, ROOM, SOON)
        first = await broker.subscribe(a_name("first"), [topic])
        seen: list[Delivery] = []
        async with asyncio.timeout(10):
            while len(seen) < 10:
                seen += await first.fetch(10, ROOM, SOON)
        assert sorted(ids(seen)) == [f"{n:06}" for n in range(10)]
