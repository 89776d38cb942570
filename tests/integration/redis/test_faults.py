"""Whatever happens to the server or the way to it: what was confirmed is read, and everything goes on by itself."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers import connect
from antiphon.brokers.ports import NoticeKind, Partition, SeekTo, Start, SubscribeOptions, TopicSpec
from antiphon.brokers.redis.envelope import to_delivery
from antiphon.errors import (
    AccessDeniedError,
    BrokerError,
    ConnectionLostError,
    DataLostError,
    PositionLostError,
    PublishError,
    StoreFullError,
    UnknownTopicError,
    UnsupportedCapabilityError,
)
from antiphon.testing.servers import RedisServer
from tests.integration.postgres.cutting import road_to
from tests.integration.redis.servers import (
    ROOM,
    SECOND,
    each_key_is_in_order,
    has_all,
    ids,
    numbered,
    persistently,
    read,
    watermarks,
)


def never(found):
    """It is not enough until it fails."""
    return False


async def publish_for_ever(broker):
    while True:
        await broker.publish(numbered(1, size=100_000))


async def test_a_restart_loses_nothing_and_everybody_goes_on(server, broker):
    subscription = await broker.subscribe("payments", ["orders"])
    sent = numbered(300)
    await broker.publish(sent[:100])
    reading = asyncio.create_task(read(subscription, has_all(sent)))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(server.stop)
    publishing = asyncio.create_task(persistently(broker, sent[100:]))
    await asyncio.sleep(0.3)
    assert not publishing.done()
    await asyncio.to_thread(server.start)
    await publishing
    found = await reading
    assert set(ids(found)) == set(ids(sent))
    assert sum(lag.messages for lag in await broker.lag("payments")) == 0


async def test_a_kill_in_the_middle_of_a_batch_costs_no_order_within_a_key(server, broker):
    await broker.ensure_topic(TopicSpec("orders", partitions=2))
    subscription = await broker.subscribe("payments", ["orders"])
    sent = numbered(20_000, keys=5)
    publishing = asyncio.create_task(persistently(broker, sent))
    await asyncio.sleep(0.05)
    await asyncio.sleep(1.1)  # until the log on the disk is written
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await publishing
    found = await read(subscription, has_all(sent))
    assert each_key_is_in_order(found, sent)


async def test_a_wiped_server_is_reported_to_readers_and_writers_and_never_begun_anew(server, broker):
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(10))
    await broker.native.flushall()
    with pytest.raises(DataLostError, match="has lost everything"):
        await broker.publish(numbered(1))
    with pytest.raises(DataLostError, match="has lost everything"):
        await read(subscription, never)
    with pytest.raises(DataLostError, match="has lost everything"):
        await broker.subscribe("others", ["orders"])
    assert await broker.native.keys("antiphon:log:*") == []


async def test_a_stream_that_somebody_deleted_is_reported(broker):
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(10))
    await read(subscription, lambda found: len(found) == 10)
    await broker.native.delete("antiphon:log:orders:0")
    with pytest.raises(DataLostError, match="lost what it had confirmed"):
        await read(subscription, never)


async def test_a_failover_that_lost_what_was_read_is_told_and_the_group_goes_on(broker, caplog):
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(7))
    held = await broker.native.dump("antiphon:log:orders:0")
    await broker.publish(numbered(3))
    found = await read(subscription, lambda found: len(found) == 10, commit=False)
    await subscription.commit(watermarks(found[:5]))
    await broker.native.restore("antiphon:log:orders:0", 0, held, replace=True)
    again = await read(subscription, lambda again: len(again) >= 2)
    assert ids(again) == ids(found[5:7])
    assert "lost messages that it had confirmed" in caplog.text
    sent = numbered(3)
    await broker.publish(sent)
    assert ids(await read(subscription, has_all(sent))) == ids(sent)


async def test_a_message_that_somebody_deleted_is_told_and_the_lag_stays_right(broker, caplog):
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    subscription = await broker.subscribe("payments", ["orders"])
    subscription.pause_topic("orders")
    await broker.publish(numbered(13))
    entries = await broker.native.xrange("antiphon:log:orders:0")
    await broker.native.xdel("antiphon:log:orders:0", entries[7][0])
    subscription.resume_topic("orders")
    await read(subscription, lambda found: len(found) >= 12)
    await subscription.keep_up()
    sent = numbered(4)
    await broker.publish(sent)
    found = await read(subscription, has_all(sent), commit=False)
    await subscription.commit(watermarks(found[:1]))
    (lag,) = await broker.lag("payments")
    assert lag.messages == 3


async def test_what_somebody_trimmed_unread_is_told_and_counted(broker):
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    await (await broker.subscribe("payments", ["orders"])).close()
    await broker.publish(numbered(100))
    await broker.native.xtrim("antiphon:log:orders:0", maxlen=40, approximate=False)
    strict = await broker.subscribe("payments", ["orders"])
    with pytest.raises(PositionLostError):
        await read(strict, never)
    await strict.close()
    lenient = await broker.subscribe("payments", ["orders"], SubscribeOptions(lost=Start.START))
    assert len(await read(lenient, lambda found: len(found) == 40)) == 40
    (lag,) = await broker.lag("payments")
    assert (lag.messages, lag.skipped) == (0, 60)


async def test_a_paused_server_takes_no_lease_from_anybody(server, broker):
    other = connect(f"{server.url}?lease=2s&timeout=1s")
    await other.open()
    members = [await each.subscribe("payments", ["orders"]) for each in (broker, other)]
    owned = [set(), set()]

    def hear():
        changes = []
        for mine, member in zip(owned, members, strict=True):
            for kind, partitions in member.notices():
                changes.append(kind)
                (mine.update if kind is NoticeKind.ASSIGNED else mine.difference_update)(partitions)
        return changes

    async with asyncio.timeout(10):
        while not (len(owned[0]) == len(owned[1]) == 4):
            for member in members:
                await member.fetch(10, ROOM, SECOND / 20)
            hear()
    server.pause()
    with pytest.raises(ConnectionLostError):
        await broker.publish(numbered(1))
    await asyncio.sleep(3)  # longer than the lease
    server.go_on()
    sent = numbered(100, keys=50)
    await persistently(broker, sent)
    found = await asyncio.gather(*(_gather(member) for member in members))
    # The first one may have been written before the pause, without an answer.
    assert set(ids(sent)) <= set(ids(found[0] + found[1]))
    assert NoticeKind.LOST not in hear()
    await other.close()


async def _gather(member):
    found, silent = [], 0
    while silent < 5:
        try:
            deliveries = await member.fetch(100, ROOM, SECOND / 5)
        except ConnectionLostError:
            continue
        silent = 0 if deliveries else silent + 1
        found += deliveries
    return found


async def test_a_connection_cut_in_the_middle_costs_nothing(server):
    async with road_to(server.port) as (road, port):
        broker = connect(f"redis://127.0.0.1:{port}?lease=2s&timeout=1s")
        await broker.open()
        subscription = await broker.subscribe("payments", ["orders"])
        sent = numbered(3000, keys=30)
        reading = asyncio.create_task(read(subscription, has_all(sent)))
        for start in range(0, 3000, 300):
            publishing = asyncio.create_task(persistently(broker, sent[start : start + 300]))
            await asyncio.sleep(0.01)
            road.cut()
            await publishing
        found = await reading
        assert set(ids(found)) == set(ids(sent))
        assert sum(lag.messages for lag in await broker.lag("payments")) == 0
        await broker.close()


async def test_a_publish_whose_answer_is_lost_says_so(server):
    async with road_to(server.port) as (road, port):
        broker = connect(f"redis://127.0.0.1:{port}?timeout=0.5s")
        await broker.open()
        await broker.publish(numbered(1))
        road.holding = True
        with pytest.raises(ConnectionLostError, match="did not answer"):
            await broker.publish(numbered(1))
        road.holding = False
        await persistently(broker, numbered(1))
        (state,) = await broker.topics()
        assert state.messages == 3
        await broker.close()


async def test_members_that_come_and_go_lose_nothing_and_keep_order(server):
    sent = numbered(2000, keys=40)
    found = []

    async def come_and_go(rounds):
        broker = connect(f"{server.url}?lease=2s")
        await broker.open()
        for _ in range(rounds):
            subscription = await broker.subscribe("payments", ["orders"])
            for _ in range(10):
                subscription.notices()
                deliveries = await subscription.fetch(100, ROOM, SECOND / 20)
                found.extend(deliveries)
                if deliveries:
                    await subscription.commit(watermarks(deliveries))
            await subscription.close()
        await broker.close()

    publisher = connect(server.url)
    await publisher.open()
    going = asyncio.gather(*(come_and_go(4) for _ in range(3)))
    for start in range(0, 2000, 100):
        await publisher.publish(sent[start : start + 100])
        await asyncio.sleep(0.05)
    await going
    last = await publisher.subscribe("payments", ["orders"])
    found += await read(last, lambda more: set(ids(sent)) <= set(ids(found + more)))
    times = Counter(ids(found))
    assert set(times) == set(ids(sent))
    assert each_key_is_in_order(found, sent)
    await publisher.close()


async def test_a_member_that_dies_without_a_word_is_followed_after_its_lease(server, broker):
    other = connect(f"{server.url}?lease=2s")
    await other.open()
    dying = await other.subscribe("payments", ["orders"])
    sent = numbered(40)
    await broker.publish(sent)
    await read(dying, has_all(sent), commit=False)
    for task in (*other._tasks, dying._reading):
        task.cancel()
    successor = await broker.subscribe("payments", ["orders"])
    began = asyncio.get_running_loop().time()
    found = await read(successor, has_all(sent))
    assert sorted(ids(found)) == sorted(ids(sent))
    assert asyncio.get_running_loop().time() - began < 6
    await dying._link.close()
    other._subscriptions.clear()
    await other.close()


async def test_a_message_above_the_limit_is_refused_and_named(server):
    broker = connect(f"{server.url}?max_message_bytes=100")
    await broker.open()
    sent = numbered(3, keys=3)
    sent[1] = sent[1]._replace(message=numbered(2, keys=3, size=101)[1].message)
    with pytest.raises(PublishError) as raised:
        await broker.publish(sent)
    assert [refusal.message_id for refusal in raised.value.refusals] == [sent[1].message.id]
    await broker.close()


async def test_an_unknown_topic_is_named_with_those_there_are(broker):
    await broker.ensure_topic(TopicSpec("orders"))
    with pytest.raises(UnknownTopicError, match="it has orders"):
        await broker.browse("ordres", {}, 10)


async def test_a_full_server_takes_nothing_and_goes_on_once_there_is_room(broker):
    subscription = await broker.subscribe("payments", ["orders"])
    used = (await broker.native.info("memory"))["used_memory"]
    await broker.native.config_set("maxmemory", used)
    with pytest.raises(StoreFullError, match="takes no more"):
        await publish_for_ever(broker)
    before = sum(state.messages for state in await broker.topics())
    await broker.native.config_set("maxmemory", 0)
    sent = numbered(10)
    await broker.publish(sent)
    found = await read(subscription, has_all(sent))
    assert len(found) == before + 10


async def test_a_stream_that_takes_nothing_holds_back_only_its_own_partition(broker):
    await broker.ensure_topic(TopicSpec("orders", partitions=2))
    await broker.native.set("antiphon:log:orders:0", "no stream")
    sent = numbered(100, keys=20)
    with pytest.raises(PublishError) as raised:
        await broker.publish(sent)
    refused = [refusal.message_id for refusal in raised.value.refusals]
    held = [delivery.message.id for delivery in await _browse_one(broker)]
    assert sorted(refused + held) == sorted(ids(sent))
    assert refused
    assert held


async def _browse_one(broker):
    entries = await broker.native.xrange("antiphon:log:orders:1")
    flat = [(id, [part for pair in fields.items() for part in pair]) for id, fields in entries]
    return [to_delivery(Partition("orders", 1), id, fields) for id, fields in flat]


async def test_who_may_not_write_is_told_so(server, broker):
    subscription = await broker.subscribe("payments", ["orders"])
    assert subscription
    await broker.native.execute_command(
        "ACL", "SETUSER", "reader", "on", ">secret", "~antiphon:*", "+@all", "-eval", "-evalsha"
    )
    reader = connect(f"redis://reader:secret@127.0.0.1:{server.port}")
    assert "secret" not in reader.url
    await reader.open()
    with pytest.raises(AccessDeniedError, match="does not let reader"):
        await reader.publish(numbered(1))
    await reader.close()
    wrong = connect(f"redis://reader:wrong@127.0.0.1:{server.port}")
    with pytest.raises(AccessDeniedError):
        await wrong.open()


async def test_the_rights_on_the_page_are_enough(server, broker):
    page = (Path(__file__).parents[3] / "docs" / "reference" / "brokers" / "redis.md").read_text("utf-8")
    line = " ".join(page.partition("```text\nACL ")[2].partition("```")[0].split())
    await broker.native.execute_command("ACL", *line.split())
    limited = connect(f"redis://antiphon:secret@127.0.0.1:{server.port}?keep=unread")
    await limited.open()
    await limited.ensure_topic(TopicSpec("orders", keep_bytes=1 << 20, keep_for=SECOND * 100))
    subscription = await limited.subscribe("payments", ["orders"])
    sent = numbered(20, size=5000)
    await limited.publish(sent)
    await read(subscription, has_all(sent))
    await limited.browse("orders", SeekTo.START, 10)
    await limited.seek("payments", "orders", sent[0].message.time)
    assert await limited.clean() == 0
    await limited.seek("payments", "orders", SeekTo.END)
    assert await limited.clean() == 20
    assert await limited.lag("payments")
    assert await limited.topics()
    assert await limited.groups() == ["payments"]
    await limited.close()


async def test_what_every_group_has_read_is_deleted_where_that_is_asked_for(server):
    broker = connect(f"{server.url}?keep=unread")
    await broker.open()
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    groups = [await broker.subscribe(name, ["orders"]) for name in ("fast", "slow")]
    await broker.publish(numbered(10))
    fast, slow = [await read(group, lambda found: len(found) == 10, commit=False) for group in groups]
    await groups[0].commit(watermarks(fast))
    assert await broker.clean() == 0
    await groups[1].commit(watermarks(slow[:4]))
    assert await broker.clean() == 4
    (state,) = await broker.topics()
    assert state.messages == 6
    await broker.close()


async def test_a_confirmation_that_does_not_come_is_told(server):
    broker = connect(f"{server.url}?confirm=1&timeout=0.3s")
    await broker.open()
    with pytest.raises(ConnectionLostError, match="0 of 1 replicas did in time"):
        await broker.publish(numbered(1))
    await broker.close()


async def test_the_disk_confirms_where_the_server_can(server):
    broker = connect(f"{server.url}?confirm=disk")
    if isinstance(server, RedisServer):
        with pytest.raises(UnsupportedCapabilityError, match="WAITAOF"):
            await broker.open()
        return
    await broker.open()
    await broker.publish(numbered(10))
    await broker.native.config_set("appendonly", "no")
    with pytest.raises(BrokerError):
        await broker.publish(numbered(1))
    await broker.close()


async def test_a_server_that_is_not_there_is_named():
    broker = connect("redis://127.0.0.1:1?timeout=0.5s")
    with pytest.raises(ConnectionLostError, match=r"redis://127\.0\.0\.1:1"):
        await broker.open()


async def test_programs_that_were_flushed_are_sent_again(broker):
    await broker.publish(numbered(1))
    await broker.native.script_flush()
    await broker.publish(numbered(1))
    (state,) = await broker.topics()
    assert state.messages == 2


async def test_a_reader_that_stands_still_holds_no_more_than_it_asked_for(broker):
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(5000, keys=100))
    first = await read(subscription, lambda found: len(found) >= 10, commit=False)
    await subscription.fetch(10, ROOM, SECOND)
    await asyncio.sleep(0.3)
    assert sum(len(owned.buffer) for owned in subscription._held) <= 8 * 1000
    assert len(first) <= 1000


async def test_large_messages_are_read_ahead_one_by_one(broker):
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(1))
    await read(subscription, lambda found: len(found) == 1)
    await subscription.fetch(1000, 2_000_000, SECOND / 10)
    await broker.publish(numbered(80, keys=40, size=500_000))
    for _ in range(3):
        await subscription.fetch(1000, 2_000_000, SECOND)
        await asyncio.sleep(0.1)
    held = [delivery for owned in subscription._held for delivery in owned.buffer]
    assert sum(len(delivery.message.data) for delivery in held) <= 8 * 500_000


async def test_redis_itself_shows_how_far_a_group_is(broker):
    await broker.ensure_topic(TopicSpec("orders", partitions=1))
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered(10))
    deliveries = await read(subscription, lambda found: len(found) == 10, commit=False)
    await subscription.commit(watermarks(deliveries[:7]))
    (shown,) = await broker.native.xinfo_groups("antiphon:log:orders:0")
    assert (shown["name"], shown["last-delivered-id"].decode()) == (b"payments", deliveries[6].position)
    assert (shown["entries-read"], shown["lag"]) == (7, 3)
    moment = deliveries[0].message.time - timedelta(hours=1)
    await broker.seek("payments", "orders", moment)
    (shown,) = await broker.native.xinfo_groups("antiphon:log:orders:0")
    assert (shown["entries-read"], shown["lag"]) == (0, 10)


async def test_members_that_were_given_no_name_are_told_apart(broker):
    await broker.ensure_topic(TopicSpec("orders", partitions=2))
    members = [await broker.subscribe("payments", ["orders"]) for _ in range(2)]
    async with asyncio.timeout(20):
        while len({lag.owner for lag in await broker.lag("payments")} - {None}) < 2:
            await asyncio.gather(*(member.fetch(10, 1 << 20, timedelta(seconds=0.1)) for member in members))
    await asyncio.gather(*(member.close() for member in members))
