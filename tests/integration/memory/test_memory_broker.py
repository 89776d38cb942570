"""What the memory broker does beyond the promises that every broker makes."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal

import pytest

from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.memory.queue import QueueForm
from antiphon.brokers.ports import (
    Broker,
    NoticeKind,
    Outcome,
    Partition,
    SeekTo,
    Settlement,
    Start,
    SubscribeOptions,
    TopicSpec,
)
from antiphon.errors import PublishError, SettingsError, UnsupportedCapabilityError, UsageError
from antiphon.events.message import Outgoing
from antiphon.testing.clock import VirtualClock
from antiphon.testing.conformance.suite import a_message, ids, watermarks

ROOM = 1 << 20
NOW = timedelta()
HOLD = timedelta(seconds=30)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def log(clock: VirtualClock) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker(clock=clock, hold=HOLD)
    await broker.open()
    yield broker
    await broker.close()
    await broker.database.close()


@pytest.fixture
async def queue(clock: VirtualClock) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker("queue", clock=clock, hold=HOLD)
    await broker.open()
    yield broker
    await broker.close()
    await broker.database.close()


async def join_log(broker: MemoryBroker, group: str = "g", topic: str = "t") -> MemoryLogSubscription:
    subscription = await broker.subscribe(group, [topic])
    assert isinstance(subscription, MemoryLogSubscription)
    return subscription


async def join_queue(broker: MemoryBroker, group: str = "g", start: Start = Start.START) -> MemoryQueueSubscription:
    subscription = await broker.subscribe(group, ["t"], SubscribeOptions(start=start))
    assert isinstance(subscription, MemoryQueueSubscription)
    return subscription


async def publish(broker: Broker, count: int, key: str = "key") -> list[str]:
    messages = [a_message(key) for _ in range(count)]
    await broker.publish([Outgoing("t", message) for message in messages])
    return ids(messages)


def test_it_is_a_broker_to_the_type_checker() -> None:
    broker: Broker = MemoryBroker()
    assert broker.url == "memory:///"


async def test_it_keeps_what_it_holds_when_it_is_closed_and_opened_again(log: MemoryBroker) -> None:
    sent = await publish(log, 3)
    async with log.database.transaction() as tx:
        await tx.execute("create table kept (id text)")
    await log.close()
    await log.open()
    assert ids(await (await join_log(log)).fetch(10, ROOM, NOW)) == sent
    assert await log.database.fetch("select id from kept") == []


async def test_a_transaction_of_another_database_is_refused(log: MemoryBroker) -> None:
    other = MemoryBroker()
    await other.open()
    subscription = await join_log(log)
    async with other.database.transaction() as tx:
        with pytest.raises(UsageError, match="another database"):
            await log.publish_in(tx, [Outgoing("t", a_message())])
        with pytest.raises(UsageError, match="another database"):
            await subscription.commit_in(tx, {})
    await other.close()
    await other.database.close()


async def test_a_partition_in_work_moves_when_its_owner_is_overdue(log: MemoryBroker, clock: VirtualClock) -> None:
    await log.ensure_topic(TopicSpec("t", partitions=2))
    slow = await join_log(log)
    messages = [a_message(f"key-{n}") for n in range(20)]
    await log.publish([Outgoing("t", message) for message in messages])
    assert len(await slow.fetch(20, ROOM, NOW)) == 20
    slow.notices()
    waiting = await join_log(log)
    fetching = asyncio.create_task(waiting.fetch(20, ROOM, 2 * HOLD))
    await clock.advance(HOLD - timedelta(seconds=1))
    assert not fetching.done()
    await clock.advance(timedelta(seconds=1))
    taken = await fetching
    (lost,) = slow.notices()
    assert lost.kind is NoticeKind.LOST
    assert {delivery.partition for delivery in taken} == set(lost.partitions)


async def test_a_partition_in_work_moves_as_soon_as_the_work_is_done(log: MemoryBroker) -> None:
    await log.ensure_topic(TopicSpec("t", partitions=2))
    working = await join_log(log)
    await log.publish([Outgoing("t", a_message(f"key-{n}")) for n in range(20)])
    deliveries = await working.fetch(20, ROOM, NOW)
    working.notices()
    joining = await join_log(log)
    assert list(joining.notices()) == []
    await working.commit(watermarks(deliveries))
    (revoked,), (assigned,) = working.notices(), joining.notices()
    assert revoked.kind is NoticeKind.REVOKED
    assert revoked.partitions == assigned.partitions
    assert len(assigned.partitions) == 1


async def test_an_evicted_member_joins_again_when_it_fetches(log: MemoryBroker) -> None:
    subscription = await join_log(log)
    sent = await publish(log, 3)
    await subscription.fetch(10, ROOM, NOW)
    subscription.notices()
    subscription.evict()
    subscription.evict()
    assert [notice.kind for notice in subscription.notices()] == [NoticeKind.LOST]
    assert ids(await subscription.fetch(10, ROOM, NOW)) == sent


async def test_positions_that_it_never_gave_out_are_refused(log: MemoryBroker) -> None:
    subscription = await join_log(log)
    with pytest.raises(UsageError, match="no position of a memory broker"):
        await subscription.commit({Partition("t", 0): "first"})


async def test_a_commit_beyond_what_was_handed_out_moves_nothing(log: MemoryBroker) -> None:
    await log.ensure_topic(TopicSpec("t", partitions=1))
    subscription = await join_log(log)
    await publish(log, 5)
    await subscription.fetch(2, ROOM, NOW)
    await subscription.commit({Partition("t", 0): "5"})
    assert [lag.messages for lag in await log.lag("g")] == [5]


async def test_refusals_can_be_injected() -> None:
    broker = MemoryBroker(refuse=lambda outgoing: "no room" if outgoing.message.key == "b" else None)
    await broker.open()
    with pytest.raises(PublishError, match="no room"):
        await broker.publish([Outgoing("t", a_message(key)) for key in "abc"])
    assert [state.messages for state in await broker.topics()] == [2]
    await broker.close()
    await broker.database.close()


def test_only_capabilities_can_be_taken_away() -> None:
    with pytest.raises(SettingsError, match="'repaly'"):
        MemoryBroker(without=["repaly"])


async def test_rejected_messages_are_kept_for_who_asks_the_queue_itself(queue: MemoryBroker) -> None:
    subscription = await join_queue(queue)
    (sent,) = await publish(queue, 1)
    (delivery,) = await subscription.fetch(1, ROOM, NOW)
    await subscription.settle([Settlement(delivery, Outcome("reject"))])
    assert isinstance(queue.native, QueueForm)
    assert ids(queue.native.rejected("g")) == [sent]
    assert list(queue.native.rejected("nobody")) == []


async def test_what_was_published_before_any_group_waits_for_the_first(queue: MemoryBroker) -> None:
    sent = await publish(queue, 3)
    assert [state.messages for state in await queue.topics()] == [3]
    first, second = await join_queue(queue, "first"), await join_queue(queue, "second")
    assert sorted(ids(await first.fetch(10, ROOM, NOW))) == sorted(sent)
    assert await second.fetch(10, ROOM, NOW) == []


async def test_the_first_group_may_start_at_the_end(queue: MemoryBroker) -> None:
    await publish(queue, 3)
    subscription = await join_queue(queue, start=Start.END)
    assert await subscription.fetch(10, ROOM, NOW) == []


async def test_a_queue_refuses_retention_and_replay(queue: MemoryBroker) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="retention"):
        await queue.ensure_topic(TopicSpec("t", keep_bytes=1))
    with pytest.raises(UnsupportedCapabilityError, match="replay"):
        await queue.seek("g", "t", SeekTo.START)


@pytest.mark.parametrize("model", ["log", "queue"])
async def test_a_dropped_broker_is_freed(model: Literal["log", "queue"]) -> None:
    broker = MemoryBroker(model)
    await broker.open()
    subscription = await broker.subscribe("g", ["t"])
    await publish(broker, 10)
    await subscription.fetch(10, ROOM, NOW)
    await broker.close()
    await broker.database.close()
    gone = weakref.ref(broker.native if model == "log" else subscription)
    del broker, subscription
    gc.collect()
    assert gone() is None


async def test_a_seek_between_settling_in_a_transaction_and_its_commit_wins(log: MemoryBroker) -> None:
    subscription = await join_log(log)
    await publish(log, 5)
    deliveries = await subscription.fetch(10, ROOM, NOW)
    async with log.database.transaction() as tx:
        await subscription.commit_in(tx, watermarks(deliveries))
        await log.seek("g", "t", SeekTo.START)
    assert sum(lag.messages for lag in await log.lag("g")) == 5


async def test_retention_keeps_exactly_what_fits(log: MemoryBroker) -> None:
    await log.ensure_topic(TopicSpec("t", partitions=1, keep_bytes=1_000))
    for published in range(3, 90, 3):
        await log.publish([Outgoing("t", a_message("key", b"x" * 100)) for _ in range(3)])
        (state,) = await log.topics()
        assert (state.messages, state.bytes) == (min(published, 10), min(100 * published, 1_000))
    subscription = await join_log(log)
    assert len(await subscription.fetch(100, 350, NOW)) == 3


async def test_a_hold_that_is_over_cannot_be_settled_even_when_nobody_took_the_message(
    queue: MemoryBroker, clock: VirtualClock
) -> None:
    subscription = await join_queue(queue)
    sent = await publish(queue, 1)
    deliveries = await subscription.fetch(1, ROOM, NOW)
    await clock.advance(HOLD)
    await subscription.settle([Settlement(delivery, Outcome("done")) for delivery in deliveries])
    assert ids(await subscription.fetch(1, ROOM, NOW)) == sent


async def test_a_hold_lasts_while_its_transaction_commits(queue: MemoryBroker, clock: VirtualClock) -> None:
    committing, waiting = await join_queue(queue), await join_queue(queue)
    await publish(queue, 1)
    deliveries = await committing.fetch(1, ROOM, NOW)
    await clock.advance(0.6 * HOLD)
    async with queue.database.transaction() as tx:
        await committing.settle_in(tx, [Settlement(delivery, Outcome("done")) for delivery in deliveries])
        await clock.advance(0.6 * HOLD)
        assert await waiting.fetch(1, ROOM, NOW) == []
    await clock.advance(HOLD)
    assert await waiting.fetch(1, ROOM, NOW) == []


async def test_what_a_transaction_settled_is_done_even_when_its_hold_ended_before_the_commit(
    queue: MemoryBroker, clock: VirtualClock
) -> None:
    slow, other = await join_queue(queue), await join_queue(queue)
    await publish(queue, 2)
    deliveries = await slow.fetch(2, ROOM, NOW)
    async with queue.database.transaction() as tx:
        await slow.settle_in(tx, [Settlement(delivery, Outcome("done")) for delivery in deliveries])
        await clock.advance(HOLD)
        assert len(await other.fetch(1, ROOM, NOW)) == 1
    assert await other.fetch(2, ROOM, NOW) == []
    await clock.advance(HOLD)
    assert await other.fetch(2, ROOM, NOW) == []
