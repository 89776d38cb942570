"""How an asker keeps its memory in bounds, costs nothing while it is idle, and waits no longer than it was told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from msgspec import Struct

from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import Reply
from antiphon.errors import AskError, ClosedError, ConnectionLostError, NoReplyError, NoResponderError, PublishError
from antiphon.events.declare import Key, event
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime import asking as room
from antiphon.runtime.asking import Asker, in_time
from antiphon.runtime.compose import Composer
from antiphon.runtime.surroundings import is_passing
from antiphon.testing.clock import VirtualClock

SECOND = timedelta(seconds=1)


@event(topic="questions")
class AskPrice(Struct, frozen=True):
    product: Key[str]


@event(topic="quotes")
class Price(Struct, frozen=True):
    product: Key[str]
    pence: int


class Watched(MemoryBroker):
    """Keeps what is published, and counts how often its boxes are looked into."""

    def __init__(self, **options):
        self.clock = VirtualClock()
        super().__init__(clock=self.clock, **options)
        self.published, self.fetches = [], 0

    async def publish(self, outgoing):
        await super().publish(outgoing)
        self.published += outgoing

    async def open_reply_box(self, name):
        box = await super().open_reply_box(name)
        fetch = box.fetch

        async def counted(wait):
            self.fetches += 1
            return await fetch(wait)

        box.fetch = counted
        return box


@asynccontextmanager
async def asking(broker):
    await broker.open()
    metrics = Metrics(service="shop")
    async with Asker(broker, name="shop", clock=broker.clock, metrics=metrics) as asker:
        asker.metrics = metrics
        yield asker
    await broker.close()
    await broker.database.close()


async def reply_to(broker, outgoing, pence=340):
    message = broker_composer(broker).caused(Price("tea", pence), outgoing.message, "quote", 0).message
    await broker.reply([Reply(outgoing.message.extensions["replyto"], message)])


def broker_composer(broker):
    return Composer("pricing", broker.clock)


async def rest():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_more_requests_than_may_be_open_wait_for_those(monkeypatch):
    monkeypatch.setattr(room, "MOST_OPEN", 2)
    broker = Watched()
    async with asking(broker) as asker:
        tasks = [asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND)) for _ in range(3)]
        await rest()
        assert len(broker.published) == 2
        assert asker.metrics.gauge(names.ASKS_OPEN).read().value == 2
        await reply_to(broker, broker.published[0])
        await rest()
        assert len(broker.published) == 3
        for each in broker.published[1:]:
            await reply_to(broker, each)
        assert await asyncio.gather(*tasks) == [Price("tea", 340)] * 3
        assert asker.metrics.gauge(names.ASKS_OPEN).read().value == 0


async def test_one_that_found_no_room_in_time_says_that_it_was_not_sent(monkeypatch):
    monkeypatch.setattr(room, "MOST_OPEN", 1)
    broker = Watched()
    async with asking(broker) as asker:
        first = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        second = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=SECOND))
        await rest()
        await broker.clock.advance(2 * SECOND)
        with pytest.raises(NoReplyError, match="could not be sent within 1 s"):
            await second
        assert len(broker.published) == 1
        first.cancel()


async def test_without_requests_nothing_is_looked_for(monkeypatch):
    broker = Watched()
    async with asking(broker) as asker:
        for _ in range(30):
            await broker.clock.advance(SECOND)
        await rest()
        looked = broker.fetches
        for _ in range(30):
            await broker.clock.advance(SECOND)
        await rest()
        assert broker.fetches == looked <= 15
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        await rest()
        await reply_to(broker, broker.published[0])
        assert await task == Price("tea", 340)


async def test_a_late_reply_that_came_while_nothing_was_looked_for_is_counted_with_the_next_request():
    broker = Watched()
    async with asking(broker) as asker:
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=SECOND))
        await rest()
        await broker.clock.advance(2 * SECOND)
        with pytest.raises(NoResponderError):
            await task
        for _ in range(30):
            await broker.clock.advance(SECOND)
        await reply_to(broker, broker.published[0])
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        await rest()
        await reply_to(broker, broker.published[1], 2)
        assert await task == Price("tea", 2)
        assert asker.metrics.counter(names.REPLIES_LATE).value == 1


async def test_a_second_reply_to_one_request_is_late():
    broker = Watched()
    async with asking(broker) as asker:
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        await rest()
        await reply_to(broker, broker.published[0], 1)
        await reply_to(broker, broker.published[0], 2)
        assert await task == Price("tea", 1)
        await rest()
        assert asker.metrics.counter(names.REPLIES_LATE).value == 1


async def test_a_request_that_the_broker_refuses_is_an_error_at_once():
    broker = Watched(max_message_bytes=5)
    async with asking(broker) as asker:
        with pytest.raises(PublishError):
            await asker.ask(AskPrice("tea"), Price, within=SECOND)
        assert asker.metrics.gauge(names.ASKS_OPEN).read().value == 0


async def test_a_box_that_cannot_be_read_for_a_while_is_read_on():
    broker = Watched()
    async with asking(broker) as asker:
        box = asker._asking._box
        fetch, errors = box.fetch, [ConnectionLostError("away")] * 3

        async def failing(wait):
            if errors:
                raise errors.pop()
            return await fetch(wait)

        box.fetch = failing
        await broker.clock.advance(SECOND)
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        await rest()
        await reply_to(broker, broker.published[0])
        for _ in range(10):
            await broker.clock.advance(timedelta(milliseconds=200))
            await rest()
        assert await task == Price("tea", 340)


async def test_who_waits_when_the_broker_is_closed_is_told_at_once_and_asks_again_once_it_is_open():
    broker = Watched()
    async with asking(broker) as asker:
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        await rest()
        await broker.close()
        await broker.clock.advance(SECOND)
        await rest()
        with pytest.raises(ClosedError, match="cannot wait for a reply: broker memory:"):
            await task
        await broker.open()
        task = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=9 * SECOND))
        await rest()
        await reply_to(broker, broker.published[1])
        assert await task == Price("tea", 340)


async def test_errors_of_asking_are_no_errors_of_the_broker():
    """Else a handler that asks would wait for ever, uncounted, as for a broker that is away."""
    error = NoResponderError("AskPrice", "1", "questions", SECOND)
    assert isinstance(error, AskError)
    assert error.retryable
    assert not is_passing(error)


async def test_work_that_takes_too_long_is_canceled_before_anybody_goes_on():
    clock, ended = VirtualClock(), list[str]()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("canceled")

    task = asyncio.create_task(in_time(clock, SECOND, work()))
    await rest()
    await clock.advance(SECOND)
    with pytest.raises(TimeoutError):
        await task
    assert ended == ["canceled"]
