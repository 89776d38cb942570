"""Does the log keep what it was given, and give it back as asked?"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.ports import NoticeKind, Partition, SeekTo, Start, SubscribeOptions, TopicSpec
from antiphon.errors import (
    LeaseLostError,
    PositionLostError,
    PublishError,
    StatementError,
    UnknownTopicError,
    UsageError,
)
from antiphon.events.message import Message, Outgoing
from antiphon.testing.clock import VirtualClock
from tests.integration.embedded.messages import a_batch, a_message, ids

ROOM = 1 << 24
SOON, LONG = timedelta(milliseconds=50), timedelta(seconds=5)


async def test_concurrent_publishes_share_commits_and_each_has_its_own_verdict(path: Path) -> None:
    broker = EmbeddedBroker(path, max_message_bytes=1000)
    await broker.open()
    before = broker.database.counters.commits
    calls = [broker.publish([Outgoing("t", a_message("k", b"x" * (2000 if n % 10 == 0 else 10)))]) for n in range(50)]
    verdicts = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(verdict, PublishError) for verdict in verdicts] == [n % 10 == 0 for n in range(50)]
    assert broker.database.counters.commits - before < 10
    assert [state.messages for state in await broker.topics()] == [45]
    await broker.close()


@pytest.mark.parametrize(("seconds", "commits"), [(0.0, 1), (0.03, 3)])
async def test_no_write_joins_a_commit_that_others_have_waited_for_long(
    broker: EmbeddedBroker, seconds: float, commits: int
) -> None:
    before = broker.database.counters.commits
    await asyncio.gather(*(broker._writes.write(lambda tx: time.sleep(seconds)) for _ in range(3)))
    assert broker.database.counters.commits - before == commits


async def test_a_write_that_fails_does_not_take_its_neighbors_with_it(broker: EmbeddedBroker) -> None:
    unwritable = Outgoing("t", a_message("\ud800"))
    verdicts = await asyncio.gather(
        broker.publish(a_batch("t", 1)),
        broker.publish([unwritable]),
        broker.publish(a_batch("t", 2)),
        return_exceptions=True,
    )
    assert [verdict is None for verdict in verdicts] == [True, False, True]
    assert [state.messages for state in await broker.topics()] == [3]


async def test_a_log_in_memory_works_and_says_that_it_is_not_durable() -> None:
    broker = EmbeddedBroker(":memory:")
    await broker.open()
    assert not broker.capabilities.durable
    first, second = await broker.subscribe("g", ["t"]), await broker.subscribe("h", ["t"])
    await broker.publish(a_batch("t", 10))
    assert len(await first.fetch(100, ROOM, LONG)) == len(await second.fetch(100, ROOM, LONG)) == 10
    await broker.close()


async def test_a_moment_without_a_time_zone_is_refused_by_name(broker: EmbeddedBroker) -> None:
    naive = Message("m1", "OrderPlaced", datetime(2026, 1, 1), b"{}", "k")  # noqa: DTZ001
    with pytest.raises(PublishError, match="no time zone") as raised:
        await broker.publish([Outgoing("t", a_message("k")), Outgoing("t", naive), Outgoing("t", a_message("k"))])
    assert len(raised.value.refusals) == 2


@pytest.mark.parametrize("field", ["id", "type", "key"])
async def test_what_no_text_can_hold_is_refused_by_name_and_leaves_nothing(broker: EmbeddedBroker, field: str) -> None:
    good, bad = a_message("k"), structs.replace(a_message("k"), **{field: "a file named \udcff"})
    with pytest.raises(PublishError) as refused:
        await broker.publish([Outgoing("t", good), Outgoing("t", bad)])
    assert [refusal.message_id for refusal in refused.value.refusals] == [bad.id]
    async with broker.database.transaction() as tx:
        with pytest.raises(PublishError):
            await broker.publish_in(tx, [Outgoing("t", good), Outgoing("t", bad)])
    await broker.publish([Outgoing("t", a_message("k"))])
    subscription = await broker.subscribe("g", ["t"])
    assert len(await subscription.fetch(10, ROOM, LONG)) == 2


async def test_a_batch_that_cannot_be_written_whole_leaves_nothing_in_the_way_of_the_next(
    broker: EmbeddedBroker,
) -> None:
    good, bad = a_message("k"), structs.replace(a_message("k"), data="no bytes")
    async with broker.database.transaction() as tx:
        with pytest.raises(StatementError):
            await broker.publish_in(tx, [Outgoing("t", good), Outgoing("t", bad)])
    await broker.publish([Outgoing("t", good)])
    subscription = await broker.subscribe("g", ["t"])
    assert ids(await subscription.fetch(10, ROOM, LONG)) == [good.id]


async def test_a_publish_that_joins_a_transaction_is_undone_with_it(broker: EmbeddedBroker) -> None:
    tx = await broker.database.begin()
    await tx.savepoint()
    await broker.publish_in(tx, a_batch("new", 5))
    await tx.undo()
    await broker.publish_in(tx, a_batch("new", 2))
    await tx.commit()
    tx = await broker.database.begin()
    await broker.publish_in(tx, a_batch("new", 3))
    await tx.rollback()
    assert [(state.name, state.messages) for state in await broker.topics()] == [("new", 2)]
    assert sorted({d.position for d in await broker.browse("new", SeekTo.START, 10)}) == ["1"]


async def test_a_transaction_of_another_database_is_refused(broker: EmbeddedBroker, tmp_path: Path) -> None:
    other = EmbeddedBroker(tmp_path / "other.db")
    await other.open()
    async with other.database.transaction() as tx:
        with pytest.raises(UsageError, match=r"log\.db"):
            await broker.publish_in(tx, a_batch("t", 1))
    await other.close()


async def test_a_watermark_that_joins_a_transaction_is_undone_with_it(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    await broker.publish(a_batch("t", 10))
    deliveries = await subscription.fetch(100, ROOM, LONG)
    marks = {d.partition: d.position for d in deliveries}
    tx = await broker.database.begin()
    await subscription.commit_in(tx, marks)
    await tx.rollback()
    assert sum(lag.messages for lag in await broker.lag("g")) == 10
    async with broker.database.transaction() as again:
        await subscription.commit_in(again, marks)
    assert sum(lag.messages for lag in await broker.lag("g")) == 0


async def test_a_commit_after_a_seek_is_fenced_alone_and_in_a_transaction(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    await broker.publish(a_batch("t", 40))
    deliveries = await subscription.fetch(100, ROOM, LONG)
    marks = {d.partition: d.position for d in deliveries}
    await broker.seek("g", "t", SeekTo.START)
    async with broker.database.transaction() as tx:
        with pytest.raises(LeaseLostError, match="t/"):
            await subscription.commit_in(tx, marks)
    await subscription.commit(marks)
    assert sum(lag.messages for lag in await broker.lag("g")) == 40
    assert await subscription.fetch(100, ROOM, SOON) == []
    # Still fenced: the member may hold deliveries from before the seek until it takes the notice.
    await subscription.commit(marks)
    assert sum(lag.messages for lag in await broker.lag("g")) == 40
    assert NoticeKind.LOST in [kind for kind, _ in subscription.notices()]
    assert sorted(ids(await subscription.fetch(100, ROOM, LONG))) == sorted(ids(deliveries))
    await subscription.commit(marks)
    assert sum(lag.messages for lag in await broker.lag("g")) == 0


async def test_a_loss_is_told_before_anything_is_read_again(broker: EmbeddedBroker) -> None:
    """Told later, it would void what was read since, which does not come again."""
    subscription = await broker.subscribe("g", ["moved", "kept"])
    await broker.publish(a_batch("moved", 40) + a_batch("kept", 40))
    held = await subscription.fetch(100, ROOM, LONG)
    assert len(held) == 80
    await broker.seek("g", "moved", SeekTo.START)
    await subscription.fetch(100, ROOM, timedelta(0))
    tx = await broker.database.begin()
    committing = asyncio.create_task(subscription.commit({d.partition: d.position for d in held}))
    await asyncio.sleep(0.01)
    assert NoticeKind.LOST in [kind for kind, _ in subscription.notices()]
    again = await subscription.fetch(100, ROOM, LONG)
    assert sorted(ids(again)) == sorted(d.message.id for d in held if d.partition.topic == "moved")
    await tx.rollback()
    await committing
    assert subscription.notices() == []
    assert {lag.partition.topic for lag in await broker.lag("g") if lag.messages} == {"moved"}


async def test_a_watermark_beyond_what_was_read_is_void_and_what_was_read_comes_again(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    await broker.publish(a_batch("t", 40))
    held = await subscription.fetch(100, ROOM, LONG)
    subscription.notices()
    await subscription.commit({held[0].partition: "1000"})
    assert [kind for kind, _ in subscription.notices()] == [NoticeKind.LOST, NoticeKind.ASSIGNED]
    again = await subscription.fetch(100, ROOM, LONG)
    assert ids(again) == [d.message.id for d in held if d.partition == held[0].partition]


async def test_a_group_moved_while_it_reads_goes_on_from_there(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    read: list[str] = []

    async def consume() -> None:
        while True:
            deliveries = await subscription.fetch(7, ROOM, LONG)
            subscription.notices()
            read.extend(ids(deliveries))
            await subscription.commit({d.partition: d.position for d in deliveries})

    reader = asyncio.create_task(consume())
    batch = a_batch("t", 100)
    await broker.publish(batch)
    sent = sorted(message.id for _, message in batch)
    for _ in range(5):
        while sum(lag.messages for lag in await broker.lag("g")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        read.clear()
        await broker.seek("g", "t", SeekTo.START)
        while len(read) < 100:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert sorted(read) == sent
    reader.cancel()


async def test_a_group_is_moved_to_a_moment_of_arrival(path: Path) -> None:
    clock = VirtualClock()
    broker = EmbeddedBroker(path, clock=clock)
    await broker.open()
    await broker.ensure_topic(TopicSpec("t", partitions=3))
    batches = []
    for _ in range(5):
        batches.append(a_batch("t", 30))
        await broker.publish(batches[-1])
        await clock.advance(timedelta(minutes=1))
    await broker.seek("late", "t", clock.now() - timedelta(minutes=2, seconds=1))
    subscription = await broker.subscribe("late", ["t"])
    expected = [message.id for batch in batches[3:] for _, message in batch]
    assert sorted(ids(await subscription.fetch(500, ROOM, LONG))) == sorted(expected)
    await broker.close()


@pytest.mark.parametrize("position", ["-1", "one", "", "999", "٣"])
async def test_a_position_that_cannot_be_is_refused(broker: EmbeddedBroker, position: str) -> None:
    await broker.publish(a_batch("t", 10))
    with pytest.raises(UsageError, match="position"):
        await broker.seek("g", "t", {Partition("t", 0): position})


async def test_a_topic_or_partition_that_is_not_there_is_named(broker: EmbeddedBroker) -> None:
    await broker.publish(a_batch("orders", 1))
    with pytest.raises(UnknownTopicError, match="it has orders"):
        await broker.seek("g", "order", SeekTo.START)
    with pytest.raises(UnknownTopicError, match="orders/8"):
        await broker.seek("g", "orders", {Partition("orders", 8): "0"})
    with pytest.raises(UnknownTopicError):
        await broker.browse("order", SeekTo.START, 1)


async def test_a_topic_without_partitions_is_refused(broker: EmbeddedBroker) -> None:
    with pytest.raises(UsageError, match="one at least"):
        await broker.ensure_topic(TopicSpec("t", partitions=0))


async def test_lag_counts_messages_and_the_age_of_the_oldest_unread(path: Path) -> None:
    clock = VirtualClock()
    broker = EmbeddedBroker(path, clock=clock)
    await broker.open()
    await broker.ensure_topic(TopicSpec("t", partitions=1))
    subscription = await broker.subscribe("g", ["t"], SubscribeOptions(member="reader"))
    await broker.publish(a_batch("t", 5))
    await clock.advance(timedelta(seconds=3))
    await broker.publish(a_batch("t", 5))
    await clock.advance(timedelta(seconds=4))
    (lag,) = await broker.lag("g")
    assert (lag.messages, lag.age, lag.owner, lag.position, lag.end) == (10, timedelta(seconds=7), "reader", "0", "10")
    await subscription.fetch(5, ROOM, LONG)
    await subscription.commit({Partition("t", 0): "5"})
    (lag,) = await broker.lag("g")
    assert (lag.messages, lag.age) == (5, timedelta(seconds=4))
    await broker.close()


async def test_browsing_follows_the_order_of_arrival_over_partitions(broker: EmbeddedBroker) -> None:
    sent = []
    for number in range(30):
        message = a_message(f"key-{number}")
        await broker.publish([Outgoing("t", message)])
        sent.append(message.id)
    first = await broker.browse("t", SeekTo.START, 12)
    after = dict.fromkeys(range(8), "0") | {d.partition.number: d.position for d in first}
    assert ids([*first, *await broker.browse("t", after, 100)]) == sent


async def test_a_fetch_is_bounded_in_bytes_even_when_one_message_is_huge(path: Path) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    await broker.ensure_topic(TopicSpec("t", partitions=1))
    small, huge = [Outgoing("t", a_message("k", b"x" * 100)) for _ in range(20)], a_message("k", b"x" * 1_000_000)
    await broker.publish([*small, Outgoing("t", huge), *small])
    subscription = await broker.subscribe("g", ["t"])
    sizes = []
    while deliveries := await subscription.fetch(1000, 10_000, SOON):
        sizes.append([len(d.message.data or b"") for d in deliveries])
    assert sizes == [[100] * 20, [1_000_000], [100] * 20]
    await broker.close()


async def test_a_small_limit_reaches_every_partition_in_turn(broker: EmbeddedBroker) -> None:
    await broker.publish(a_batch("t", 400))
    subscription = await broker.subscribe("g", ["t"])
    partitions = [d.partition.number for _ in range(16) for d in await subscription.fetch(1, ROOM, LONG)]
    assert sorted(partitions[:8]) == sorted(partitions[8:]) == list(range(8))


async def test_a_partition_asked_for_by_another_is_drained_before_it_moves(path: Path, broker: EmbeddedBroker) -> None:
    first = await broker.subscribe("g", ["t"])
    await broker.publish(a_batch("t", 200))
    held = await first.fetch(1000, ROOM, LONG)
    other = EmbeddedBroker(path)
    await other.open()
    second = await other.subscribe("g", ["t"])
    assert await second.fetch(1000, ROOM, timedelta(milliseconds=600)) == []
    await first.commit({d.partition: d.position for d in held})
    await broker.publish(a_batch("t", 200))
    moved = await second.fetch(1000, ROOM, LONG)
    assert moved
    assert not set(ids(moved)) & set(ids(held))
    assert NoticeKind.REVOKED in [kind for kind, _ in first.notices()]
    await other.close()


async def test_a_partition_is_taken_from_a_reader_that_does_not_finish_in_time(path: Path) -> None:
    slow = EmbeddedBroker(path, grace=timedelta(milliseconds=300))
    await slow.open()
    first = await slow.subscribe("g", ["t"])
    await slow.publish(a_batch("t", 200))
    held = await first.fetch(1000, ROOM, LONG)
    second = await slow.subscribe("g", ["t"])
    again = await second.fetch(1000, ROOM, LONG)
    assert again
    await first.commit({d.partition: d.position for d in held})
    lost = {p for kind, partitions in first.notices() if kind is NoticeKind.LOST for p in partitions}
    assert lost >= {d.partition for d in again}
    lag = {each.partition: each.position for each in await slow.lag("g")}
    assert all(lag[partition] == "0" for partition in lost)
    await slow.close()


async def test_two_readers_of_different_topics_in_one_group_disturb_nobody(broker: EmbeddedBroker) -> None:
    orders = await broker.subscribe("g", ["orders"])
    both = await broker.subscribe("g", ["orders", "payments"])
    await asyncio.sleep(0.7)
    await broker.publish([*a_batch("orders", 100), *a_batch("payments", 100)])
    seen = {
        name: {d.partition.topic for d in await s.fetch(1000, ROOM, LONG)} for name, s in (("o", orders), ("b", both))
    }
    assert seen == {"o": {"orders"}, "b": {"orders", "payments"}}


async def test_the_declared_start_decides_for_a_new_group_only(broker: EmbeddedBroker) -> None:
    await broker.publish(a_batch("t", 10))
    late = await broker.subscribe("late", ["t"], SubscribeOptions(start=Start.END))
    assert await late.fetch(100, ROOM, SOON) == []
    await late.close()
    await broker.publish(a_batch("t", 5))
    again = await broker.subscribe("late", ["t"], SubscribeOptions(start=Start.END))
    assert len(await again.fetch(100, ROOM, LONG)) == 5


async def test_retention_by_age_deletes_what_arrived_before(path: Path) -> None:
    clock = VirtualClock()
    broker = EmbeddedBroker(path, clock=clock)
    await broker.open()
    await broker.ensure_topic(TopicSpec("t", keep_for=timedelta(hours=1)))
    await broker.publish(a_batch("t", 100))
    await clock.advance(timedelta(minutes=40))
    await broker.publish(a_batch("t", 50))
    await clock.advance(timedelta(minutes=40))
    await broker.clean()
    (state,) = await broker.topics()
    assert (state.messages, state.bytes) == (50, 50 * 200)
    await broker.close()


async def test_retention_by_size_deletes_the_oldest_first(broker: EmbeddedBroker) -> None:
    await broker.ensure_topic(TopicSpec("t", keep_bytes=30_000))
    for _ in range(10):
        await broker.publish(a_batch("t", 100))
    newest = a_batch("t", 100)
    await broker.publish(newest)
    await broker.clean()
    (state,) = await broker.topics()
    assert state.bytes <= 30_000
    left = ids(await broker.browse("t", SeekTo.START, 10_000))
    assert len(left) == state.messages > 100
    assert {message.id for _, message in newest} <= set(left)


async def test_a_group_whose_position_was_deleted_stops_with_its_name_until_it_is_moved(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    await broker.ensure_topic(TopicSpec("t", keep_bytes=0))
    await broker.publish(a_batch("t", 100))
    await broker.clean()
    await broker.publish(a_batch("t", 100))
    for _ in range(2):
        with pytest.raises(PositionLostError, match="seek the group"):
            await subscription.fetch(1000, ROOM, LONG)
    await broker.seek("g", "t", SeekTo.START)
    await subscription.fetch(1000, ROOM, LONG)
    subscription.notices()
    assert len(await subscription.fetch(1000, ROOM, LONG)) == 100


@pytest.mark.parametrize(("lost", "read"), [(Start.START, 100), (Start.END, 0)])
async def test_a_group_that_goes_on_behind_deleted_messages_counts_them(
    broker: EmbeddedBroker, lost: Start, read: int
) -> None:
    await broker.ensure_topic(TopicSpec("t", keep_bytes=0))
    subscription = await broker.subscribe("g", ["t"], SubscribeOptions(lost=lost))
    for partition in range(8):
        subscription.pause([Partition("t", partition)])
    await broker.publish(a_batch("t", 100))
    await broker.clean()
    await broker.publish(a_batch("t", 100))
    subscription.resume([Partition("t", number) for number in range(8)])
    assert len(await subscription.fetch(1000, ROOM, SOON)) == read
    skipped = sum(lag.skipped for lag in await broker.lag("g"))
    assert skipped == 200 - read
    await broker.publish(a_batch("t", 10))
    assert len(await subscription.fetch(1000, ROOM, LONG)) == 10


async def test_a_partition_paused_stays_owned_and_silent_until_resumed(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    every = [Partition("t", number) for number in range(8)]
    subscription.pause([*every, Partition("t", 0)])
    await broker.publish(a_batch("t", 20))
    assert await subscription.fetch(100, ROOM, SOON) == []
    waiting = asyncio.create_task(subscription.fetch(100, ROOM, LONG))
    await asyncio.sleep(0.02)
    subscription.resume(every)
    assert len(await waiting) == 20
