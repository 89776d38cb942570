"""What is particular to RabbitMQ: the server's own dead letters, others' messages, and what several processes hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import (
    Delivery,
    Outcome,
    Partition,
    QueueSubscription,
    SeekTo,
    Settlement,
    TopicSpec,
)
from antiphon.brokers.rabbitmq import RabbitBroker
from antiphon.errors import PublishError, UnsupportedCapabilityError, UsageError
from antiphon.events.message import Message
from antiphon.moving.reading import require_log
from antiphon.moving.survey import Choice, stand_of, survey
from antiphon.moving.target import require_fitting
from tests.integration.rabbitmq.brokers import a_broker, a_prefix, remove
from tests.integration.rabbitmq.messages import ROOM, ids, numbered

WAIT = timedelta(seconds=2)
REJECT = Outcome("reject")


@pytest.fixture
async def prefix(rabbitmq_server: str) -> AsyncIterator[str]:
    prefix = a_prefix()
    yield prefix
    await remove(rabbitmq_server, prefix)


@pytest.fixture
async def broker(rabbitmq_server: str, prefix: str) -> AsyncIterator[RabbitBroker]:
    broker = a_broker(rabbitmq_server, prefix)
    await broker.open()
    yield broker
    await broker.close()


async def put(broker: RabbitBroker, exchange: str, body: bytes, **properties: object) -> None:
    """Publish as a program of somebody else does."""
    native = broker.native
    assert isinstance(native, aio_pika.abc.AbstractConnection)
    async with native.channel() as channel:
        target = await channel.get_exchange(exchange)
        await target.publish(aio_pika.Message(body, **properties), routing_key="3")  # type: ignore[arg-type]  # theirs


async def test_what_others_publish_to_the_exchange_is_read(broker: RabbitBroker, prefix: str) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    plain = b'{"eventType":"T","eventId":"7","timestamp":"2026-01-31T10:30:00Z","data":{}}'
    await put(broker, f"{prefix}.orders", plain)
    (delivery,) = await subscription.fetch(1, ROOM, WAIT)
    assert (delivery.message.id, delivery.partition.number, delivery.problem) == ("7", 3, None)


async def test_bytes_that_are_no_message_are_kept_by_the_server_as_they_came(broker: RabbitBroker, prefix: str) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    await put(broker, f"{prefix}.orders", b"rubbish", headers={"theirs": 1})
    (delivery,) = await subscription.fetch(1, ROOM, WAIT)
    assert delivery.problem is not None
    await subscription.settle([Settlement(delivery, REJECT)])
    async with asyncio.timeout(10):
        while not (kept := await broker.read_dead_letters("payments", 10)):  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.02)
    assert [(each.message.data, each.partition, each.problem is None) for each in kept] == [
        (b"rubbish", delivery.partition, False)
    ]


async def test_lag_counts_what_a_member_in_another_process_has_in_hand(
    broker: RabbitBroker, rabbitmq_server: str, prefix: str
) -> None:
    looking = a_broker(rabbitmq_server, prefix)
    await looking.open()
    try:
        subscription = await broker.subscribe("payments", ["orders"])
        await broker.publish(numbered("orders", range(40)))
        await fetched(subscription, 10)
        lags = await looking.lag("payments")
        assert sum(lag.messages for lag in lags) == 40
        assert all(lag.owner is not None for lag in lags)
        assert "payments" in await looking.groups()
    finally:
        await looking.close()


async def fetched(subscription: QueueSubscription, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await subscription.fetch(count - len(found), ROOM, WAIT)
    return found


async def test_prefixes_are_brokers_of_their_own(broker: RabbitBroker, rabbitmq_server: str) -> None:
    other_prefix = a_prefix()
    other = a_broker(rabbitmq_server, other_prefix)
    await other.open()
    try:
        await broker.publish(numbered("orders", range(3)))
        assert [(state.name, state.bytes) for state in await broker.topics()] == [("orders", None)]
        assert not await other.topics()
    finally:
        await other.close()
        await remove(rabbitmq_server, other_prefix)


async def test_delays_of_different_lengths_end_when_they_should(broker: RabbitBroker) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered("orders", range(3)))
    deliveries = sorted(await fetched(subscription, 3), key=lambda d: d.message.id)
    delays = (timedelta(seconds=1.2), timedelta(milliseconds=100), timedelta(milliseconds=600))
    settlements = [
        Settlement(delivery, Outcome("again", delay=delay)) for delivery, delay in zip(deliveries, delays, strict=True)
    ]
    await subscription.settle(settlements)
    assert ids(await fetched(subscription, 3)) == ["000001", "000002", "000000"]
    await broker.publish(numbered("orders", range(9, 10)))
    (delivery,) = await fetched(subscription, 1)
    with pytest.raises(UnsupportedCapabilityError, match="the longest"):
        await subscription.settle([Settlement(delivery, Outcome("again", delay=timedelta(days=30)))])


async def test_a_group_is_filled_alone_in_order_and_emptied_again(broker: RabbitBroker) -> None:
    messages = [message for _, message in numbered("orders", range(30), keys=1)]
    for group in ("payments", "mailing"):
        await broker.empty(group, "orders")
    for _ in range(2):
        await broker.empty("payments", "orders")
        await broker.fill("payments", Partition("orders", 3), messages)
    await broker.publish(numbered("orders", range(30, 31)))
    assert {lag.partition.number: lag.messages for lag in await broker.lag("payments")}[3] >= 30
    subscription = await broker.subscribe("payments", ["orders"])
    found = await fetched(subscription, 31)
    assert ids([each for each in found if each.partition.number == 3])[:30] == [each.id for each in messages]
    others = await broker.subscribe("mailing", ["orders"])
    assert ids(await fetched(others, 1)) == ["000030"], "it was filled, too"


async def test_a_group_that_somebody_reads_is_not_emptied(broker: RabbitBroker) -> None:
    subscription = await broker.subscribe("payments", ["orders"])
    await broker.publish(numbered("orders", range(3)))
    await fetched(subscription, 1)
    with pytest.raises(UsageError, match="has members that read 'orders': stop them"):
        await broker.empty("payments", "orders")


async def test_what_is_too_large_to_fill_in_is_named(broker: RabbitBroker) -> None:
    await broker.empty("payments", "orders")
    large = Message("large", "Counted", datetime.now(UTC), bytes(17 << 20), "key-1")
    with pytest.raises(PublishError, match="large"):
        await broker.fill("payments", Partition("orders", 3), [large])


async def test_services_are_not_moved_over_what_waits_for_a_first_group(broker: RabbitBroker) -> None:
    source = MemoryBroker()
    await source.open()
    await source.ensure_topic(TopicSpec("orders"))
    await source.seek("payments", "orders", SeekTo.START)
    log, choice = require_log(source), Choice(watch=timedelta())
    plans = await survey(log, choice, await stand_of(log, choice), {})
    await require_fitting(source, broker, plans, is_begun=False)
    await broker.publish(numbered("orders", range(3)))
    with pytest.raises(UsageError, match=r"messages of 'orders' wait on .* for their first group"):
        await require_fitting(source, broker, plans, is_begun=False)
    await source.close()
    await source.database.close()
