"""Whatever happens to the cluster or to its members, a reader goes on by itself and nothing is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from msgspec import Struct, structs

from antiphon import Key, Service, event
from antiphon.brokers.kafka import KafkaBroker
from antiphon.brokers.kafka.client import Committed, KafkaException
from antiphon.brokers.kafka.looking import Looker, Span
from antiphon.brokers.kafka.options import Access, common, looking, watching
from antiphon.brokers.kafka.positions import Positions
from antiphon.brokers.ports import NoticeKind, Partition, Reply, SubscribeOptions, TopicSpec
from antiphon.brokers.reply_topics import outgoing_replies
from antiphon.errors import (
    BrokerError,
    ConnectionLostError,
    DataLostError,
    PositionLostError,
    PublishError,
    UnknownTopicError,
)
from antiphon.events.ids import new_id
from antiphon.events.message import Message
from antiphon.runtime.health import readiness
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.testing.servers import KafkaServer
from tests.integration.kafka.cluster import (
    OPTIONS,
    Member,
    first_reading_is_in_order,
    let_take,
    members_of,
    messages,
    noise,
    opened,
    outgoing,
    publish_again,
    publish_all,
    until_read,
    until_settled,
    wipe,
)
from tests.integration.postgres.cutting import road_to

pytestmark = pytest.mark.timeout(180)


@event(topic="placed")
class Placed(Struct, frozen=True):
    order_id: Key[str]


async def until(done, seconds=60):
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.05)


@pytest.fixture
def server():
    with KafkaServer() as server:
        yield server


@pytest.fixture
def address(kafka_server):
    return kafka_server.removeprefix("kafka://")


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_restarts_costs_nothing(server, how):
    sent = messages(3000)
    async with opened(server.address) as broker:
        await publish_all(broker, sent[:1000])
        member = Member(await broker.subscribe("payments", ["orders"]))
        await until_read(member.read, sent[:500])
        await asyncio.to_thread(getattr(server, how))
        publishing = asyncio.create_task(publish_all(broker, sent[1000:]))
        await asyncio.sleep(2)
        await asyncio.to_thread(server.start)
        await publishing
        await until_read(member.read, sent)
        assert first_reading_is_in_order(member.read)
        assert any(isinstance(error, ConnectionLostError) for error in member.errors), "nobody was told"
        await until_settled(broker, "payments")
        await member.stop()


async def test_a_service_whose_cluster_is_away_is_not_ready_until_it_is_back(server, tmp_path):
    payments, paid = Service("payments", store=f"sqlite:///{tmp_path / 'payments.db'}"), list[str]()

    @payments.on(Placed)
    async def pay(order: Placed) -> None:
        paid.append(order.order_id)

    async with opened(server.address) as broker:
        settings = ServiceSettings(broker=broker.url, stall_after=timedelta(seconds=2))
        await payments.start(broker, Settings(common=settings))
        await payments.publish(Placed("o-1"))
        await until(lambda: paid and readiness([payments.health]).ok)
        await asyncio.to_thread(server.kill)
        await until(lambda: any("does not answer" in each for each in readiness([payments.health]).problems))
        await asyncio.sleep(3)  # it stays so
        assert not readiness([payments.health]).ok
        assert payments.health.state == "running"
        await asyncio.to_thread(server.start)
        await until(lambda: readiness([payments.health]).ok)
        await payments.publish(Placed("o-2"))
        await until(lambda: "o-2" in paid)
        await payments.stop()


async def test_an_asker_hears_of_an_outage_and_then_goes_on_hearing_replies(server):
    async with opened(server.address) as broker:
        box, sent, heard = await broker.open_reply_box("shop"), messages(3), list[Message]()
        await asyncio.to_thread(server.kill)
        with pytest.raises(ConnectionLostError):
            await box.fetch(timedelta(seconds=20))
        await asyncio.to_thread(server.start)
        await publish_again(broker, outgoing_replies([Reply(box.address, each) for each in sent]))
        async with asyncio.timeout(30):
            while len(heard) < len(sent):
                with suppress(ConnectionLostError):
                    heard += await box.fetch(timedelta(seconds=1))
        assert [each.id for each in heard] == [each.id for each in sent]


async def test_a_server_that_stands_still_is_waited_for(server):
    sent = messages(2000)
    async with opened(server.address) as broker:
        await publish_all(broker, sent[:1000])
        member = Member(await broker.subscribe("payments", ["orders"]))
        await until_read(member.read, sent[:1000])
        server.pause()
        publishing = asyncio.create_task(publish_all(broker, sent[1000:]))
        await asyncio.sleep(8)
        server.go_on()
        await publishing
        await until_read(member.read, sent)
        assert first_reading_is_in_order(member.read)
        await member.stop()


async def test_closing_does_not_wait_for_those_who_look_into_a_cluster_that_stands_still(server):
    """As when a service stops while its lag is measured: the thread goes on, though its task was canceled."""
    places = {Partition("orders", number): Span(0, 100) for number in range(8)}
    async with opened(server.address) as broker:
        await publish_all(broker, messages(100))
    conf, patience = common(server.address, OPTIONS, Access()), OPTIONS.patience
    positions = Positions(lambda group: watching(conf, group), patience)
    looker = Looker(looking(conf), patience.total_seconds())
    assert not await positions.committed("payments", places)
    server.pause()
    looks: list[asyncio.Task[object]] = [
        asyncio.create_task(positions.committed("payments", places)),
        asyncio.create_task(positions.move("others", {place: Committed(0, "") for place in places})),
        asyncio.create_task(looker.read(places, 100)),
    ]
    await asyncio.sleep(1)
    async with asyncio.timeout(patience.total_seconds() / 2):
        await asyncio.gather(positions.close(), looker.close())
        found = await asyncio.gather(*looks, return_exceptions=True)
    assert all(isinstance(each, KafkaException) for each in found)
    server.go_on()


async def test_a_publish_that_nobody_confirms_ends_and_is_never_sent_later(server):
    options = structs.replace(OPTIONS, patience=timedelta(seconds=3))
    first, second = messages(50), messages(50)
    async with opened(server.address, options) as broker:
        await publish_all(broker, messages(1))
        server.pause()
        with pytest.raises(PublishError) as raised:
            await broker.publish(outgoing(first))
        assert [refusal.message_id for refusal in raised.value.refusals] == [one.id for one in first]
        assert all(refusal.retryable for refusal in raised.value.refusals)
        server.go_on()
        await publish_all(broker, second)
        seen = [each.message.id for each in await broker.browse("orders", {}, 1000)]
        later = [each for each in seen[seen.index(second[0].id) :] if each in {one.id for one in first}]
        assert later == []


async def test_a_wiped_cluster_is_told_and_not_begun_anew(server):
    async with opened(server.address) as broker:
        await publish_all(broker, messages(100))
        member = Member(await broker.subscribe("payments", ["orders"]))
        await until_read(member.read, [each.message for each in member.read])
        await until_settled(broker, "payments")
        await asyncio.to_thread(wipe, server)
        async with opened(server.address) as other:
            await publish_all(other, messages(3))
            error = await member.failure()
        assert isinstance(error, DataLostError)
        assert "restore it, or seek the group" in str(error)
        await member.stop()


async def test_connections_that_are_cut_mid_batch_cost_nothing(server):
    async with road_to(server.port) as (road, port):
        server._settings["advertised.listeners"] = f"PLAINTEXT://127.0.0.1:{port}"
        wipe(server)
        sent = messages(20_000, size=200)
        async with opened(f"127.0.0.1:{port}") as broker:
            member = Member(await broker.subscribe("payments", ["orders"]))
            publishing = asyncio.create_task(publish_all(broker, sent))
            for _ in range(8):
                await asyncio.sleep(0.3)
                road.cut()
            await publishing
            await until_read(member.read, sent)
            assert first_reading_is_in_order(member.read)
            await member.stop()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_members_that_come_and_go_every_second_lose_nothing(address, protocol):
    topic, group = f"orders-{new_id()}", f"group-{new_id()}"
    sent = messages(6000, keys=50)
    read = []
    async with opened(address, structs.replace(OPTIONS, protocol=protocol)) as broker:
        staying = Member(await broker.subscribe(group, [topic]), read)

        async def come_and_go():
            while True:
                member = Member(await broker.subscribe(group, [topic]), read)
                try:
                    await asyncio.sleep(1)
                finally:
                    await member.stop()

        coming = [asyncio.create_task(come_and_go()) for _ in range(2)]
        for start in range(0, 6000, 50):
            await publish_all(broker, sent[start : start + 50], topic)
            await asyncio.sleep(0.1)
        for each in coming:
            each.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        await until_read(read, sent)
        assert staying.errors == []
        await staying.stop()


def holds(member: Member) -> bool:
    return bool(member.subscription._holdings.lanes)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_nobody_waits_for_a_member_that_left_while_it_held_nothing(address, protocol):
    topic, group = f"orders-{new_id()}", f"group-{new_id()}"
    options = structs.replace(OPTIONS, protocol=protocol, lease=timedelta(seconds=45))
    async with opened(address, options) as broker:
        await broker.ensure_topic(TopicSpec(topic, partitions=1))
        first = Member(await broker.subscribe(group, [topic]))
        second = Member(await broker.subscribe(group, [topic]))
        both = (first, second)
        # The cluster knows who holds the partition before that member does.
        while len(members := await members_of(broker, group)) < 2 or sum(members) < 1 or not any(map(holds, both)):
            await asyncio.sleep(0.05)
        idle = next(each for each in both if not holds(each))
        await idle.stop()
        assert await members_of(broker, group) == [1]
        await first.stop()
        await second.stop()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_nobody_waits_for_a_member_that_left_while_it_was_joining(address, protocol):
    topic = f"orders-{new_id()}"
    options = structs.replace(OPTIONS, protocol=protocol, lease=timedelta(seconds=45))
    async with opened(address, options) as broker:
        await broker.ensure_topic(TopicSpec(topic))
        for milliseconds in (0, 2, 5, 10, 15, 20, 30, 40, 60, 100):
            group = f"group-{new_id()}"
            subscription = await broker.subscribe(group, [topic])
            await asyncio.sleep(milliseconds / 1000)
            async with asyncio.timeout(5):
                await subscription.close()
            assert await members_of(broker, group) == []


async def test_who_works_for_longer_than_any_lease_keeps_its_partitions(address):
    topic, group = f"orders-{new_id()}", f"group-{new_id()}"
    async with opened(address) as broker:
        await publish_all(broker, messages(20), topic)
        slow = await broker.subscribe(group, [topic])
        held = []
        while len(held) < 20:
            held += await slow.fetch(100, 1 << 20, timedelta(seconds=5))
        slow.notices()
        await asyncio.sleep(1.5 * OPTIONS.lease.total_seconds())
        assert slow.notices() == []
        await slow.commit({each.partition: each.position for each in held})
        assert sum(lag.messages for lag in await broker.lag(group)) == 0


async def test_who_does_not_finish_in_time_loses_what_moves_and_is_told(address):
    topic, group = f"orders-{new_id()}", f"group-{new_id()}"
    async with opened(address) as broker:
        sent = messages(200, keys=40)
        await publish_all(broker, sent, topic)
        slow = await broker.subscribe(group, [topic])
        held = []
        while len(held) < 200:
            held += await slow.fetch(1000, 1 << 20, timedelta(seconds=5))
        slow.notices()
        other = Member(await broker.subscribe(group, [topic]))
        await asyncio.sleep(2 * OPTIONS.grace.total_seconds())
        kinds = {kind for kind, partitions in slow.notices() if partitions}
        assert kinds == {NoticeKind.LOST}
        await slow.close()
        await until_read(other.read, sent)
        await other.stop()


async def test_memory_is_bounded_while_nobody_fetches(address):
    topic, group = f"orders-{new_id()}", f"group-{new_id()}"
    async with opened(address) as broker:
        sent = messages(30_000, size=100)
        await publish_all(broker, sent, topic)
        idle = await broker.subscribe(group, [topic])
        await asyncio.sleep(4)
        waiting = sum(len(lane.queue) for lane in idle._holdings.lanes.values())
        assert 1000 < waiting < 6000
        member = Member(idle)
        await until_read(member.read, sent)
        assert len(member.read) == len(sent)
        await member.stop()


async def test_a_message_above_the_limit_of_its_topic_is_refused_and_the_others_are_held(address):
    topic = f"orders-{new_id()}"
    options = structs.replace(OPTIONS, topic_settings="max.message.bytes=20000")
    async with opened(address, options) as broker:
        await broker.ensure_topic(TopicSpec(topic))
        sent = [*messages(3), structs.replace(messages(1, size=30_000)[0], key="large")]
        with pytest.raises(PublishError) as raised:
            await broker.publish(outgoing(sent, topic))
        assert [(refusal.message_id, refusal.retryable) for refusal in raised.value.refusals] == [(sent[-1].id, False)]
        assert len(await broker.browse(topic, {}, 100)) == 3


async def test_a_topic_that_takes_less_all_at_once_refuses_only_what_is_too_large(address):
    topic = f"orders-{new_id()}"
    async with opened(address) as broker, opened(address) as other:
        await broker.ensure_topic(TopicSpec(topic, partitions=1))
        small = noise(200, 500, keys=1)
        large = [structs.replace(each, key="large") for each in noise(3, 30_000)]
        await publish_all(broker, small[:10], topic)
        await let_take(other, topic, 20_000)  # of which the first one has not heard
        sending = [broker.publish(outgoing(some, topic)) for some in (small[10:100], [*small[100:], *large])]
        fine, refused = await asyncio.gather(*sending, return_exceptions=True)
        assert fine is None
        assert isinstance(refused, PublishError)
        named = [(refusal.message_id, refusal.retryable) for refusal in refused.refusals]
        assert named == [(large[0].id, False), (large[1].id, True), (large[2].id, True)]
        held = [delivery.message.id for delivery in await broker.browse(topic, {}, 1000)]
        assert sorted(held) == [each.id for each in small]


async def refused(broker, sent, topic):
    """Those of these, sent each for itself and all at once, that the broker did not take."""
    answers = [broker.publish(outgoing([each], topic)) for each in sent]
    return [each for each in await asyncio.gather(*answers, return_exceptions=True) if each is not None]


async def test_a_topic_that_takes_more_by_now_takes_what_it_refused(address):
    topic = f"orders-{new_id()}"
    options = structs.replace(OPTIONS, topic_settings="max.message.bytes=20000")
    async with opened(address, options) as broker, opened(address) as other:
        await broker.ensure_topic(TopicSpec(topic))
        large = noise(2, 30_000)
        with pytest.raises(PublishError):
            await broker.publish(outgoing(large, topic))
        await let_take(other, topic, 2_000_000)
        async with asyncio.timeout(20):  # each server hears of it in its own time
            while await refused(broker, large, topic):
                await asyncio.sleep(0.05)
        held = {delivery.message.id for delivery in await broker.browse(topic, {}, 1000)}
        assert held == {each.id for each in large}


async def test_a_topic_that_is_deleted_under_its_readers_is_told(server):
    async with opened(server.address) as broker:
        await publish_all(broker, messages(10))
        member = Member(await broker.subscribe("payments", ["orders"]))
        await until_read(member.read, [])
        while len(member.read) < 10:
            await asyncio.sleep(0.1)
        await asyncio.wrap_future(broker.native.admin.delete_topics(["orders"])["orders"])
        assert isinstance(await member.failure(), UnknownTopicError | PositionLostError)
        await member.stop()


async def test_a_server_that_is_not_there_is_told_in_time():
    with pytest.raises(ConnectionLostError):
        async with asyncio.timeout(15):
            await KafkaBroker("127.0.0.1:1", OPTIONS).open()


async def test_a_lease_that_the_cluster_does_not_take_is_told_and_not_tried_for_ever(server):
    options = structs.replace(OPTIONS, lease=timedelta(seconds=1))
    async with opened(server.address, options) as broker:
        await broker.ensure_topic(TopicSpec("orders", partitions=1))
        member = Member(await broker.subscribe("payments", ["orders"]))
        error = await member.failure()
        assert "let lease be between" in str(error)
        assert isinstance(error, BrokerError)
        assert not error.retryable
        await member.stop()


async def test_kafkas_own_retention_is_told(server):
    """The one that deletes in its own time, by segments."""
    settings = "segment.ms=100"
    async with opened(server.address, structs.replace(OPTIONS, topic_settings=settings)) as broker:
        await broker.ensure_topic(TopicSpec("orders", partitions=1, keep_for=timedelta(milliseconds=500)))
        subscription = await broker.subscribe("payments", ["orders"])
        await publish_all(broker, messages(1))
        (one,) = await subscription.fetch(10, 1 << 20, timedelta(seconds=10))
        await subscription.commit({one.partition: one.position})
        await subscription.close()
        await publish_all(broker, messages(10))
        async with asyncio.timeout(60):
            while sum(state.messages for state in await broker.topics() if state.name == "orders"):
                await asyncio.sleep(0.5)
        again = await broker.subscribe("payments", ["orders"], SubscribeOptions())
        with pytest.raises(PositionLostError):
            await again.fetch(10, 1 << 20, timedelta(seconds=20))
