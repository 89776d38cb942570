"""How replies are sent: what becomes of those that the broker does not take, or not now."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from msgspec import Struct, json, structs

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import ConnectionLostError, EncodeError, PublishError, Refusal, StoreCorruptError
from antiphon.events.declare import Key, event
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime.answering import LONGEST_TOLD, Answers
from antiphon.runtime.compose import Composer
from antiphon.runtime.request_failed import FAILED
from antiphon.runtime.window import FINISHED, LOST, RELEASED, SHELVED
from antiphon.testing.clock import VirtualClock

ROUTE = SimpleNamespace(name="quote")


@event(topic="questions")
class AskPrice(Struct, frozen=True):
    product: Key[str]


@event(topic="quotes")
class Price(Struct, frozen=True):
    product: Key[str]
    pence: float


class Way:
    """Takes replies, or raises what it is told to first."""

    def __init__(self, *errors):
        self.errors, self.taken = list(errors), []

    async def reply(self, replies):
        if self.errors:
            error = self.errors.pop(0)
            raise error(replies) if callable(error) else error
        self.taken += replies


class Log:
    def __init__(self):
        self.said = []

    def warning(self, text, *args):
        self.said.append(text % args)

    error = warning


@asynccontextmanager
async def answering(way):
    clock, metrics = VirtualClock(), Metrics(service="pricing")
    answers = Answers(Composer("pricing", clock), way, clock, metrics, Log())
    answers.clock, answers.metrics = clock, metrics
    running = asyncio.create_task(answers.run())
    yield answers
    running.cancel()


def a_request(answers, *, within=timedelta(seconds=5), address="box"):
    message = Composer("shop", answers.clock).first(AskPrice("tea")).message
    extensions = {} if address is None else {"replyto": address}
    deadline = None if within is None else answers.clock.now() + within
    return Delivery(Partition("questions", 0), "1", structs.replace(message, deadline=deadline, extensions=extensions))


def replied(answers, delivery, reply=None, state=FINISHED):
    answers._keep(ROUTE, delivery, reply or Price("tea", 340.0))
    delivery.state = state
    answers.look()


async def in_time(answers):
    """Let time pass until everything is sent."""
    flushing = asyncio.create_task(answers.flushed())
    while not flushing.done():
        await answers.clock.advance(timedelta(milliseconds=50))


def count(answers, definition, **labels):
    return answers.metrics.counter(definition, handler="quote", **labels).value


async def test_a_reply_is_sent_when_its_delivery_is_done_and_not_before():
    way = Way()
    async with answering(way) as answers:
        delivery = a_request(answers)
        answers._keep(ROUTE, delivery, Price("tea", 340.0))
        await answers.flushed()
        assert way.taken == []
        delivery.state = FINISHED
        await answers.flushed()
    ((address, message),) = way.taken
    assert address == "box"
    assert (message.causation_id, message.type) == (delivery.message.id, "Price")


@pytest.mark.parametrize("state", [LOST, RELEASED, SHELVED])
async def test_what_was_not_done_here_is_not_replied_to(state):
    way = Way()
    async with answering(way) as answers:
        replied(answers, a_request(answers), state=state)
        await answers.flushed()
    assert way.taken == []
    assert count(answers, names.REPLIES_SENT) == 0


async def test_an_attempt_that_was_undone_replies_nothing():
    way = Way()
    async with answering(way) as answers:
        delivery = a_request(answers)
        answers._keep(ROUTE, delivery, Price("tea", 340.0))
        answers.forget(delivery)
        delivery.state = FINISHED
        await answers.flushed()
    assert way.taken == []


async def test_a_reply_waits_for_a_connection_that_comes_back_in_time():
    way = Way(ConnectionLostError("away"))
    async with answering(way) as answers:
        replied(answers, a_request(answers))
        await in_time(answers)
    assert len(way.taken) == 1
    assert count(answers, names.REPLIES_SENT) == 1


@pytest.mark.parametrize("error", [ConnectionLostError("away"), StoreCorruptError("gone")])
async def test_a_reply_that_nobody_waits_for_any_more_is_lost_and_counted(error):
    way = Way(error)
    async with answering(way) as answers:
        delivery = a_request(answers)
        await answers.clock.advance(timedelta(seconds=6))
        replied(answers, delivery)
        await answers.flushed()
    assert way.taken == []
    assert count(answers, names.REPLIES_LOST, error=type(error).__name__) == 1


async def test_a_reply_that_is_too_large_becomes_a_failure_that_says_so():
    way = Way(lambda replies: PublishError([Refusal("box", replies[0].message.id, "it has 9 bytes, the limit is 8")]))
    async with answering(way) as answers:
        replied(answers, a_request(answers))
        await in_time(answers)
    ((_, message),) = way.taken
    assert message.type == FAILED
    assert json.decode(message.data)["error"] == "PublishError"
    assert "the limit is 8" in json.decode(message.data)["text"]


async def test_of_several_only_the_refused_one_is_replaced():
    way = Way()
    first = [True]

    async def reply(replies):
        if first.pop() if first else False:
            raise PublishError([Refusal("box", replies[0].message.id, "no", retryable=True)])
        way.taken += replies

    way.reply = reply
    async with answering(way) as answers:
        deliveries = [a_request(answers) for _ in range(3)]
        for delivery in deliveries:
            answers._keep(ROUTE, delivery, Price("tea", 1.0))
            delivery.state = FINISHED
        await in_time(answers)
    assert [each.message.causation_id for each in way.taken] == [deliveries[0].message.id]
    assert count(answers, names.REPLIES_SENT) == 3


async def test_a_reply_that_cannot_be_written_fails_the_attempt():
    async with answering(Way()) as answers:
        with pytest.raises(EncodeError):
            answers._keep(ROUTE, a_request(answers), Price("tea", float("nan")))


async def test_what_an_error_says_is_told_in_bounds():
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    way = Way()
    async with answering(way) as answers:
        for error in (ValueError("x" * 100_000), ValueError("a\udcff"), OddError()):
            delivery = a_request(answers)
            answers.failed(ROUTE, delivery, error)
            delivery.state = FINISHED
        await answers.flushed()
    texts = [json.decode(each.message.data)["text"] for each in way.taken]
    assert len(texts[0]) == LONGEST_TOLD
    assert texts[1] == "a\\udcff"
    assert "an error of its own" in texts[2]


async def test_nobody_is_replied_to_who_gave_no_address():
    way = Way()
    async with answering(way) as answers:
        replied(answers, a_request(answers, address=None))
        await answers.flushed()
    assert way.taken == []
