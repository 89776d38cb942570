"""What leaves in transactions leaves once, wherever the process dies, and nobody reads what was taken back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import cycle

import pytest

from antiphon.brokers.kafka import KafkaBroker
from antiphon.brokers.ports import Delivery, LogSubscription, SeekTo, TopicSpec
from antiphon.errors import PublishError
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from antiphon.testing.servers import KafkaServer
from tests.integration.kafka.cluster import A_WHILE, let_take, messages, noise, opened, outgoing, publish_all
from tests.integration.kafka.transforming import POINTS, OrderPlaced
from tests.torture.killing import victim

KEYS, ROUNDS, EACH = 10, 8, 200
MODULE = "tests.integration.kafka.transforming"


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    with KafkaServer() as server:
        yield server


async def place(broker: KafkaBroker, start: int) -> None:
    composer = Composer("till", SystemClock())
    placed = [OrderPlaced(f"order-{number % KEYS}", number) for number in range(start, start + EACH)]
    await broker.publish([composer.first(order) for order in placed])


async def paid(broker: KafkaBroker) -> list[Delivery]:
    return list(await broker.browse("payments", SeekTo.START, 100_000))


async def until_paid(broker: KafkaBroker, count: int) -> list[Delivery]:
    async with asyncio.timeout(90):
        while len(found := await paid(broker)) < count:
            await asyncio.sleep(0.5)
    return found


async def test_each_payment_leaves_once_wherever_the_process_dies(server, tmp_path):
    points, own = cycle(POINTS), f"sqlite:///{tmp_path / 'own.db'}"
    async with opened(server.address) as broker:
        for number in range(ROUNDS):
            await place(broker, number * EACH)
            with victim(server.address, own, next(points), "1", module=MODULE) as process:
                await asyncio.wait_for(asyncio.to_thread(process.wait), 60)
        with victim(server.address, own, "", "0", module=MODULE):
            found = await until_paid(broker, ROUNDS * EACH)
            await asyncio.sleep(1)
            found = await paid(broker)
    times = Counter(each.message.id for each in found)
    assert len(times) == ROUNDS * EACH, "some payments are lost"
    assert not [id for id, count in times.items() if count > 1], "some payments left twice"
    for key in {each.message.key for each in found}:
        numbers = [each.message.data for each in found if each.message.key == key]
        assert numbers == sorted(numbers, key=_number), f"{key} is out of order"


def _number(data: bytes | None) -> int:
    return int((data or b"").rpartition(b":")[2].strip(b" }"))


async def test_what_the_cluster_refuses_is_named_and_nothing_of_its_transaction_is_read(server):
    async with opened(server.address) as broker:
        reader = await broker.subscribe("readers", ["payments"])
        paying = await broker.subscribe("paying", ["orders"])
        await publish_all(broker, messages(3))
        read = await fetched(paying, 3)
        small, large = messages(1), noise(1, 20_000)
        await let_take(broker, "payments", 2_000)  # of which no broker of ours has heard
        watermarks = {each.partition: each.position for each in read}
        with pytest.raises(PublishError) as caught:
            await paying.commit_with(watermarks, outgoing([*small, *large], "payments"))
        assert [refusal.message_id for refusal in caught.value.refusals] == [large[0].id]
        assert sum(lag.messages for lag in await broker.lag("paying")) == 3
        await paying.commit_with(watermarks, outgoing(small, "payments"))
        assert [each.message.id for each in await fetched(reader, 1)] == [small[0].id]
        assert sum(lag.messages for lag in await broker.lag("paying")) == 0


async def test_transactions_fit_a_topic_that_takes_small_batches_and_one_that_does_so_all_at_once(server):
    async with opened(server.address) as broker:
        await broker.ensure_topic(TopicSpec("payments", partitions=1))
        paying = await broker.subscribe("paying", ["orders"])
        reader = await broker.subscribe("readers", ["payments"])
        await publish_all(broker, messages(3))
        sent = noise(90, 500, keys=1)
        moves = [{each.partition: each.position} for each in await fetched(paying, 3)]
        await paying.commit_with(moves[0], outgoing(sent[:30], "payments"))
        await let_take(broker, "payments", 8_000)  # of which no broker of ours has heard
        await paying.commit_with(moves[1], outgoing(sent[30:60], "payments"))
        async with opened(server.address) as other:  # which hears of it when it begins
            also = await other.subscribe("also", ["orders"])
            more = await fetched(also, 1)
            await also.commit_with({more[0].partition: more[0].position}, outgoing(sent[60:], "payments"))
        assert [each.message.id for each in await fetched(reader, 90)] == [each.id for each in sent]
        assert await reader.fetch(10, 1 << 20, timedelta(seconds=1)) == []


async def fetched(subscription: LogSubscription, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await subscription.fetch(100, 1 << 20, A_WHILE)
    return found
