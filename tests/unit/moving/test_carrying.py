"""From one log to another, in memory: what is carried, in which order, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Partition, TopicSpec
from antiphon.brokers.reply_topics import reply_topic
from antiphon.errors import UnknownTopicError, UnsupportedCapabilityError, UsageError
from antiphon.events.message import Message, Outgoing
from antiphon.moving.arrivals import Arrivals, readers_of, require_whole
from antiphon.moving.carrying import carry
from antiphon.moving.reading import require_log
from antiphon.moving.survey import Choice, TopicPlan, stand_of, survey, watch
from antiphon.moving.target import require_able, require_fitting

QUICK = Choice(watch=timedelta())


def outgoing(name: str, key: str | None, topic: str = "orders") -> Outgoing:
    return Outgoing(topic, Message(name, "Happened", datetime(2026, 1, 1, tzinfo=UTC), b"{}", key))


@pytest.fixture
async def source() -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker()
    await broker.open()
    await broker.ensure_topic(TopicSpec("orders", 2))
    yield broker
    await broker.close()
    await broker.database.close()


@pytest.fixture
async def target() -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker()
    await broker.open()
    await broker.ensure_topic(TopicSpec("orders", 2))
    yield broker
    await broker.close()
    await broker.database.close()


async def place(broker: MemoryBroker, group: str, first: int, second: int) -> None:
    places = {Partition("orders", number): str(count) for number, count in ((0, first), (1, second))}
    await broker.seek(group, "orders", places)


async def planned(source: MemoryBroker, choice: Choice = QUICK) -> TopicPlan:
    log = require_log(source)
    (plan,) = await survey(log, choice, await stand_of(log, choice), {})
    return plan


async def carried(source: MemoryBroker, target: MemoryBroker, plan: TopicPlan) -> Arrivals:
    base = await target.ends("orders")
    await carry(require_log(source), require_log(target), plan, base)
    arrivals = await Arrivals.look(require_log(target), "orders", base)
    require_whole("orders", arrivals.count(), await readers_of(require_log(source), plan))
    return arrivals


async def test_what_no_group_has_read_is_carried_and_the_rest_stays(source: MemoryBroker, target: MemoryBroker) -> None:
    await source.publish([outgoing(f"{number}", "key") for number in range(6)])
    (number,) = {each.partition.number for each in await source.browse("orders", {}, 1)}
    await place(source, "one", *([2, 0] if number == 0 else [0, 2]))
    await place(source, "other", *([4, 0] if number == 0 else [0, 4]))
    plan = await planned(source)
    assert (plan.messages, dict(plan.unread)) == (4, {"one": 4, "other": 2})
    arrivals = await carried(source, target, plan)
    assert [identity for _, identity in arrivals.lanes[number]] == ["0::2", "0::3", "0::4", "0::5"]


async def test_everything_is_carried_where_that_is_chosen(source: MemoryBroker) -> None:
    await source.publish([outgoing(f"{number}", "key") for number in range(6)])
    assert (await planned(source)).messages == 0, "nobody reads it"
    assert (await planned(source, Choice(watch=timedelta(), everything=True))).messages == 6


async def test_carrying_again_adds_nothing_and_goes_on_where_it_stopped(
    source: MemoryBroker, target: MemoryBroker
) -> None:
    await source.publish([outgoing(f"{number}", f"key-{number % 3}") for number in range(9)])
    await place(source, "one", 0, 0)
    plan = await planned(source)
    base = await target.ends("orders")
    await target.publish([outgoing(f"{number}", f"key-{number % 3}") for number in range(4)])
    assert await carry(require_log(source), require_log(target), plan, base) == 5
    assert await carry(require_log(source), require_log(target), plan, base) == 0


async def test_without_keys_what_more_groups_have_read_goes_first(source: MemoryBroker, target: MemoryBroker) -> None:
    await source.publish([outgoing(f"{number}", None) for number in range(10)])
    await place(source, "one", 1, 1)
    await place(source, "other", 3, 4)
    plan = await planned(source)
    assert plan.scatters
    assert plan.is_nested
    arrivals, readers = await carried(source, target, plan), await readers_of(require_log(source), plan)
    unread = len([1 for lane in arrivals.lanes.values() for _ in lane])
    assert unread == 8
    for group, left in (("one", 8), ("other", 3)):
        positions = arrivals.positions(group, readers)
        assert (
            sum(int(position) > int(positions[n]) for n, lane in arrivals.lanes.items() for position, _ in lane) == left
        )


async def test_without_keys_groups_that_crossed_are_refused(source: MemoryBroker, target: MemoryBroker) -> None:
    await source.publish([outgoing(f"{number}", None) for number in range(10)])
    await place(source, "one", 1, 3)
    await place(source, "other", 3, 1)
    with pytest.raises(UsageError, match="two groups each have read what the other one has not"):
        await require_fitting(source, target, [await planned(source)], is_begun=False)


async def test_another_number_of_partitions_and_larger_messages_are_refused(source: MemoryBroker) -> None:
    await source.publish([outgoing("1", "key")])
    await place(source, "one", 0, 0)
    for refused, told in (
        (MemoryBroker(), "has 3 partitions"),
        (MemoryBroker(max_message_bytes=1), "holds a message of 2 bytes, and .* takes 1"),
    ):
        await refused.open()
        await refused.ensure_topic(TopicSpec("orders", 3))
        with pytest.raises(UsageError, match=told):
            await require_fitting(source, refused, [await planned(source)], is_begun=False)
        await refused.close()
        await refused.database.close()


async def test_what_is_there_already_is_not_carried_by_another_move(source: MemoryBroker, target: MemoryBroker) -> None:
    await source.publish([outgoing("1", "key")])
    await target.publish([outgoing("1", "key")])
    await place(source, "one", 0, 0)
    with pytest.raises(UsageError, match=r"has 1 messages of 'orders' already .* same broker .* \(--progress\)"):
        await require_fitting(source, target, [await planned(source)], is_begun=False)
    await require_fitting(source, target, [await planned(source)], is_begun=True)


async def test_a_group_that_has_something_to_read_there_is_refused(source: MemoryBroker, target: MemoryBroker) -> None:
    await target.publish([outgoing("of others", "key")])
    await source.publish([outgoing(f"{number}", f"key-{number}") for number in range(8)])
    await place(target, "one", 0, 0)
    await place(source, "other", 0, 0)
    await place(source, "one", 0, 0)
    await require_fitting(source, target, [await planned(source)], is_begun=False)
    await place(source, "one", 1, 1)
    with pytest.raises(UsageError, match=r"group 'one' has something to read of 'orders' on .* already"):
        await require_fitting(source, target, [await planned(source)], is_begun=False)


async def test_live_members_are_refused_here_and_there(source: MemoryBroker, target: MemoryBroker) -> None:
    plan = await planned(source)
    reading = await source.subscribe("one", ["orders"])
    with pytest.raises(UsageError, match=r"is still read by .* of group 'one': stop the services with SIGTERM"):
        await stand_of(require_log(source), QUICK)
    await reading.close()
    plan = await planned(source)
    reading = await target.subscribe("one", ["orders"])
    with pytest.raises(UsageError, match=r"is still read by .* of group 'one'"):
        await require_fitting(source, target, [plan], is_begun=True)
    await reading.close()


async def test_a_group_goes_with_all_its_topics_or_not(source: MemoryBroker) -> None:
    reading = await source.subscribe("one", ["orders", "bills"])
    await reading.close()
    with pytest.raises(UsageError, match="group 'one' also reads bills, and a service has one broker"):
        await stand_of(require_log(source), Choice(topics=["orders"]))
    with pytest.raises(UnknownTopicError):
        await stand_of(require_log(source), Choice(topics=["order"]))


async def test_replies_stay_behind_with_whoever_asked_for_them(source: MemoryBroker) -> None:
    await source.ensure_topic(reply_topic("shop"))
    asker = await source.subscribe("antiphon.replies.shop.1", ["antiphon.replies.shop"])
    await source.publish([outgoing("a", "key"), outgoing("b", None, "antiphon.replies.shop")])
    await place(source, "one", 0, 0)
    plan = await planned(source)
    assert (plan.name, set(plan.unread), plan.messages) == ("orders", {"one"}, 1)
    assert (await planned(source, Choice(watch=timedelta(), everything=True))).name == "orders"
    with pytest.raises(UnknownTopicError, match="it has orders"):
        await stand_of(require_log(source), Choice(topics=["antiphon.replies.shop"]))
    await asker.close()


async def test_nobody_may_publish_while_it_is_watched(source: MemoryBroker) -> None:
    watching = asyncio.create_task(watch(require_log(source), ["orders"], timedelta(milliseconds=5)))
    await asyncio.sleep(0)
    await source.publish([outgoing("1", "key")])
    with pytest.raises(UsageError, match="somebody still publishes to orders"):
        await watching


async def test_a_queue_is_no_source_and_what_is_not_durable_no_target() -> None:
    queue = MemoryBroker("queue")
    with pytest.raises(UnsupportedCapabilityError, match="log to move from"):
        require_log(queue)
    with pytest.raises(UnsupportedCapabilityError, match="log or queue to move to"):
        require_able(queue, QUICK)
