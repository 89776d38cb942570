"""Kafka's own tools and other programs read what we write, and we what they write."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from msgspec import structs

from antiphon.brokers.kafka import KafkaOptions
from antiphon.brokers.ports import SeekTo
from antiphon.errors import UnrecognizedMessageError
from antiphon.events.ids import new_id
from antiphon.testing.servers import KafkaServer
from tests.integration.kafka.cluster import (
    OPTIONS,
    Member,
    messages,
    opened,
    outgoing,
    publish_all,
    until_read,
    until_settled,
)

pytestmark = pytest.mark.timeout(120)
READ = "org.apache.kafka.tools.consumer.ConsoleConsumer"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture(scope="module")
def server():
    with KafkaServer() as server:
        yield server


async def tool(server, program, *arguments):
    return await asyncio.to_thread(server.run, program, "--bootstrap-server", server.address, *arguments)


async def test_the_console_consumer_reads_what_we_publish(server):
    async with opened(server.address) as broker:
        sent = messages(3)
        await broker.publish(outgoing(sent, "read-by-console"))
    found = await tool(
        server, READ, "--topic", "read-by-console", "--from-beginning", "--max-messages", "3",
        "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
    )  # fmt: skip
    for message in sent:
        assert f"ce_id:{message.id}" in found
        assert "ce_type:Numbered" in found
        assert f"\t{message.key}\t{(message.data or b'').decode()}" in found


async def test_how_far_a_group_is_behind_is_known_at_once_where_batches_are_large(server):
    async with opened(server.address) as broker:
        await broker.publish(outgoing(messages(4_000, keys=100, size=200), "in-large-batches"))
        await broker.seek("behind", "in-large-batches", SeekTo.START)
        async with asyncio.timeout(3):
            found = await broker.lag("behind")
    assert len(found) == 8
    assert sum(lag.messages for lag in found) == 4_000


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_the_group_tool_sees_where_a_group_stands_and_moves_it(server, protocol):
    topic, group = f"orders-{protocol}", f"payments-{protocol}"
    options: KafkaOptions = structs.replace(OPTIONS, protocol=protocol)
    async with opened(server.address, options) as broker:
        sent = messages(40)
        await broker.publish(outgoing(sent, topic))
        member = Member(await broker.subscribe(group, [topic]))
        await until_read(member.read, sent)
        await until_settled(broker, group)
        rows = described(await tool(server, GROUPS, "--describe", "--group", group), group, topic)
        assert sum(int(row[3]) for row in rows) == 40
        assert {row[5] for row in rows} == {"0"}
        await member.stop()
        moved = await tool(
            server, GROUPS, "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute"
        )
        assert topic in moved
        again = Member(await broker.subscribe(group, [topic]))
        await until_read(again.read, sent)
        await again.stop()


async def test_a_seek_of_ours_is_what_the_group_tool_sees_afterwards(server):
    topic, group = "orders-sought", "payments-sought"
    async with opened(server.address) as broker, opened(server.address) as elsewhere:
        sent = messages(40)
        await broker.publish(outgoing(sent, topic))
        member = Member(await broker.subscribe(group, [topic]))
        await until_read(member.read, sent)
        member.read.clear()
        await elsewhere.seek(group, topic, SeekTo.START)
        await until_read(member.read, sent)
        await asyncio.sleep(2.5)
        await member.stop()
        assert group in await broker.groups()
        await tool(server, GROUPS, "--group", group, "--topic", topic, "--reset-offsets", "--to-latest", "--execute")
        assert sum(lag.messages for lag in await broker.lag(group)) == 0, "an older seek came back"


async def test_a_group_that_the_cluster_shares_out_has_members_though_nobody_may_name_them(server):
    """Whatever protocol the one who asks speaks itself: it is not taken for a group that is stopped."""
    topic, group = "orders-unnamed", "payments-unnamed"
    options: KafkaOptions = structs.replace(OPTIONS, protocol="consumer")
    async with opened(server.address, options) as broker, opened(server.address) as elsewhere:
        sent = messages(40)
        await broker.publish(outgoing(sent, topic))
        member = Member(await broker.subscribe(group, [topic]))
        await until_read(member.read, sent)
        assert {lag.owner for each in (broker, elsewhere) for lag in await each.lag(group)} == {"a member"}
        await member.stop()
        async with asyncio.timeout(10):
            while {lag.owner for lag in await elsewhere.lag(group)} != {None}:
                await asyncio.sleep(0.1)


def described(text, group, topic):
    rows = [line.split() for line in text.splitlines()]
    return [row for row in rows if row[:2] == [group, topic]]


async def test_keys_go_where_the_java_client_puts_them(server):
    """By Kafka's own test values, whatever wrote them: see the conformance suite; here by another program's reader."""
    async with opened(server.address) as broker:
        sent = messages(30, keys=30)
        await broker.publish(outgoing(sent, "placed"))
    own = Producer({"bootstrap.servers": server.address, "partitioner": "murmur2"})
    places = {}
    for message in sent:
        key = (message.key or "").encode()
        own.produce(
            "placed", b"", key, on_delivery=lambda _, record: places.setdefault(record.key(), record.partition())
        )
    own.flush(10)
    consumer = Consumer({"bootstrap.servers": server.address, "group.id": "placed", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("placed", number, 0) for number in range(8)])
    seen = [consumer.poll(10) for _ in range(60)]
    consumer.close()
    assert all(places[record.key()] == record.partition() for record in seen)


async def test_what_others_write_is_read_and_what_nobody_understands_is_a_problem(server):
    topic = "theirs"
    async with opened(server.address) as broker:
        subscription = await broker.subscribe("readers", [topic])
        own = Producer({"bootstrap.servers": server.address})
        structured = b'{"specversion":"1.0","id":"1","source":"theirs","type":"Made","data":{"a":1}}'
        plain = b'{"eventType":"Made","eventId":"2","data":{"a":1}}'
        own.produce(topic, structured, b"k", headers={"content-type": "application/cloudevents+json"})
        own.produce(topic, plain, b"k")
        own.produce(topic, b"\x00avro", b"\xff\x00", headers={"odd": b"\xff", "none": None})
        own.produce(topic, None, b"k")
        own.flush(10)
        found = []
        while len(found) < 4:
            found += await subscription.fetch(10, 1 << 20, timedelta(seconds=10))
        good = {each.message.id: each.message for each in found if each.problem is None}
        assert {(each.type, each.data, each.key) for each in good.values()} == {("Made", b'{"a":1}', "k")}
        problems = [each for each in found if each.problem is not None]
        assert {(each.message.key, each.message.data) for each in problems} == {("0xff00", b"\x00avro"), ("k", None)}
        assert all(isinstance(each.problem, UnrecognizedMessageError) for each in problems)


async def test_what_a_transaction_undid_is_never_read_and_its_marks_are_no_lag(server):
    topic, group = "transacted", "readers-of-transacted"
    async with opened(server.address) as broker:
        subscription = await broker.subscribe(group, [topic])
        own = Producer({"bootstrap.servers": server.address, "transactional.id": new_id()})
        own.init_transactions(10)
        for payload, ends in ((b"undone", own.abort_transaction), (b"done", own.commit_transaction)):
            own.begin_transaction()
            own.produce(topic, b'{"eventType":"T","eventId":"%s"}' % payload, b"k")
            own.flush(10)
            ends(10)
        (one,) = await subscription.fetch(10, 1 << 20, timedelta(seconds=10))
        assert one.message.id == "done"
        await subscription.commit({one.partition: one.position})
        assert sum(lag.messages for lag in await broker.lag(group)) == 0
        assert [each.message.id for each in await broker.browse(topic, {}, 10)] == ["done"]


async def test_publish_all_of_a_topic_that_was_deleted_makes_it_anew(server):
    async with opened(server.address) as broker:
        await broker.publish(outgoing(messages(1), "deleted"))
        await asyncio.wrap_future(broker.native.admin.delete_topics(["deleted"])["deleted"])
        sent = messages(5)
        await publish_all(broker, sent, "deleted")
        assert len(await broker.browse("deleted", {}, 10)) == 5
