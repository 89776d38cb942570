"""What becomes of a reader that the server's retention overtakes? It is told: nothing is passed over in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from antiphon.brokers.ports import Delivery, Start, SubscribeOptions, TopicSpec
from antiphon.brokers.rabbitmq import RabbitLogBroker, log_broker, log_reader
from antiphon.brokers.rabbitmq.log_subscription import RabbitLogSubscription
from antiphon.errors import PositionLostError
from antiphon.events.message import Outgoing
from antiphon.testing.servers import RabbitServer
from tests.integration.rabbitmq.logs import Reading, opened, until_settled
from tests.integration.rabbitmq.messages import PATIENCE, a_name, ids, numbered, until

pytestmark = pytest.mark.timeout(180)
_PREFETCH = 20
_FIRST = 50
_FAR = 60
"""A place behind all that a reader has that was handed what it reads ahead of the first messages."""

_KEPT = 100_000
"""Bytes of some files, so that the latest messages are not deleted before anybody can read them."""


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with RabbitServer() as running:
        yield running


class Standing:
    """A group of one reader that takes nothing yet, in a topic of one partition with small files."""

    def __init__(self, server: RabbitServer, broker: RabbitLogBroker, topic: str) -> None:
        self.server, self.broker, self.topic = server, broker, topic
        self.published = 0
        self.subscription: RabbitLogSubscription

    async def publish(self, count: int) -> None:
        await self.broker.publish(numbered(self.topic, range(self.published, self.published + count)))
        self.published += count

    async def fill_a_file(self) -> None:
        """Publish one that is larger than a file; whoever reads next begins another, with a record of the server's."""
        (large,) = numbered(self.topic, range(self.published, self.published + 1))
        await self.broker.publish([Outgoing(self.topic, replace(large.message, data=b"x" * 12_000))])
        self.published += 1

    async def begin(self, lost: Start) -> None:
        """Let it hold as much as it reads ahead."""
        await self.broker.ensure_topic(TopicSpec(self.topic, partitions=1))
        self.subscription = await self.broker.subscribe("payments", [self.topic], SubscribeOptions(lost=lost))
        readers = self.subscription._readers
        await until(lambda: len(readers) == 1)
        await self.publish(_FIRST)
        await until(lambda: len(readers[0].buffer) >= _PREFETCH)

    def files(self) -> list[Path]:
        """What the server keeps, each called by its first number."""
        return sorted(self.server._folder.glob(f"data/*/stream/*{self.topic}_0_*/*.segment"))

    async def overtake(self) -> None:
        """Return when the server has deleted what the reader has to read next.

        It keeps the file open in which it stands, and reads it to its end; so the next one has to be gone, too.
        """
        at = _FAR
        for _ in range(2):
            async with asyncio.timeout(PATIENCE):
                while (first := int(self.files()[0].stem)) <= at:
                    await self.publish(50)
            at = first

    def delete(self) -> None:
        """As retention does it, which tells readers where the stream begins only a while later."""
        for each in reversed(self.files()[:-1]):
            each.with_suffix(".index").unlink()
            each.unlink()


@asynccontextmanager
async def standing(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch, lost: Start, **limits: int
) -> AsyncIterator[Standing]:
    arguments = {f"x-{name.replace('_', '-')}": value for name, value in limits.items()}
    monkeypatch.setattr(log_reader, "SILENCE", 1.0)  # the server may forget a reader that is overtaken
    small = {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 10_000, **arguments}
    monkeypatch.setattr(log_broker, "log_arguments", lambda: small)
    async with opened(server.url, a_name("p"), prefetch=str(_PREFETCH)) as broker:
        reader = Standing(server, broker, a_name("orders"))
        await reader.begin(lost)
        yield reader


async def assert_told(reading: Reading, standing: Standing) -> None:
    """It had all that came before what is lost, and nothing of what comes after."""
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([reading.task])
    with pytest.raises(PositionLostError) as raised:
        reading.task.result()
    had = ids(reading.seen)
    assert had == [f"{number:06}" for number in range(len(had))]
    assert raised.value.position == reading.seen[-1].position
    assert int(raised.value.first) > int(raised.value.position)
    assert len(had) < standing.published
    await reading.stop()


async def test_a_reader_that_retention_overtakes_while_it_reads_is_told(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with standing(server, monkeypatch, Start.STOP, max_length_bytes=_KEPT) as reader:
        await reader.overtake()
        reading = Reading(reader.subscription, [])
        await reader.publish(50)
        await assert_told(reading, reader)


@pytest.mark.parametrize("lost", [Start.START, Start.END])
async def test_a_reader_that_retention_overtakes_may_go_on_and_counts_what_it_missed(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch, lost: Start
) -> None:
    seen = list[Delivery]()
    async with standing(server, monkeypatch, lost, max_length_bytes=_KEPT) as reader:
        await reader.overtake()
        reading = Reading(reader.subscription, seen)
        await reader.publish(50)

        async def skipped() -> int:
            (lag,) = await reader.broker.lag("payments")
            return lag.skipped

        async with asyncio.timeout(PATIENCE):
            while not await skipped():  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0.1)
        await reader.publish(10)
        await until(lambda: ids(seen[-1:]) == [f"{reader.published - 1:06}"])
        assert ids(seen) == sorted(set(ids(seen)))
        # Numbers that the server used itself count, too.
        own = int(seen[-1].position) - reader.published
        missed = reader.published - len(seen)
        assert 0 < missed <= await skipped() <= missed + own
        await reading.stop()


async def test_a_loss_is_told_where_nothing_is_left_but_a_record_of_the_servers_own(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "DOUBT", 1.0)
    async with standing(server, monkeypatch, Start.STOP, max_length_bytes=1_000) as reader:
        await reader.overtake()
        await reader.fill_a_file()
        reading = Reading(reader.subscription, [])
        async with asyncio.timeout(PATIENCE):
            while not reading.task.done():
                await asyncio.wait([reading.task], timeout=2)
                await reader.fill_a_file()
        await assert_told(reading, reader)


async def test_a_group_that_read_everything_is_told_of_no_loss_where_a_new_file_begins(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Delivery]()
    async with standing(server, monkeypatch, Start.STOP, max_length_bytes=1_000) as reader:
        reading = Reading(reader.subscription, seen)
        await until(lambda: len(seen) == _FIRST)
        await reader.fill_a_file()
        await until(lambda: len(seen) == reader.published)
        await until_settled(reader.broker, "payments")
        await reading.stop()
        again = Reading(await reader.broker.subscribe("payments", [reader.topic]), seen)
        await until(lambda: len(reader.files()) == 1)
        assert int(reader.files()[0].stem) == int(seen[-1].position), "nothing that was read is kept"
        await reader.publish(1)
        await until(lambda: len(seen) == reader.published or again.task.done())
        assert (len(seen), again.errors) == (reader.published, [])
        await again.stop()


async def test_a_reader_that_the_server_forgot_between_two_files_is_begun_anew_and_told(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with standing(server, monkeypatch, Start.STOP) as reader:
        async with asyncio.timeout(PATIENCE):
            while len(reader.files()) < 5:
                await reader.publish(50)
        reader.delete()
        reading = Reading(reader.subscription, [])
        await reader.publish(50)
        await assert_told(reading, reader)


async def test_a_reader_that_nothing_comes_to_is_begun_anew_and_misses_nothing(
    server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with standing(server, monkeypatch, Start.STOP) as reader:
        reading, log = Reading(reader.subscription, []), reader.subscription._readers[0]
        for _ in range(3):
            known = (None, log._lane)
            await until(lambda known=known: log._lane not in known)
            await reader.publish(50)
        await until(lambda: len(reading.seen) == reader.published)
        assert ids(reading.seen) == [f"{number:06}" for number in range(reader.published)]
        assert not reading.errors
        await reading.stop()
