"""Publishing by hand: only what is declared, in order, with repeatable ids."""

from __future__ import annotations

import pytest

from antiphon.errors import PublishError, Refusal, UndeclaredEventError
from antiphon.runtime.compose import Composer
from antiphon.runtime.publisher import HandlerPublisher, ServicePublisher, check_declared
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import OrderPlaced, PaymentDeclined, PaymentTaken, a_message

COMPOSER = Composer("payments", VirtualClock())


class Road:
    def __init__(self):
        self.sent = []

    async def send(self, outgoing):
        self.sent += outgoing


def for_handler(road, cause):
    return HandlerPublisher(COMPOSER, cause, "take", (PaymentTaken, PaymentDeclined), road.send)


async def test_each_call_sends_one_event_in_order():
    road, cause = Road(), a_message()
    publisher = for_handler(road, cause)
    await publisher.publish(PaymentTaken("a"))
    await publisher.publish(PaymentDeclined("a"), key="b")
    assert [one.message.type for one in road.sent] == ["PaymentTaken", "PaymentDeclined"]
    assert [one.message.key for one in road.sent] == ["a", "b"]
    assert {one.message.causation_id for one in road.sent} == {cause.id}


async def test_a_repeated_attempt_publishes_the_same_ids():
    road, cause = Road(), a_message()
    for _ in range(2):
        publisher = for_handler(road, cause)
        await publisher.publish(PaymentTaken("a"))
        await publisher.publish(PaymentTaken("a"))
    ids = [one.message.id for one in road.sent]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


async def test_what_is_undeclared_is_refused_at_the_call():
    road = Road()
    with pytest.raises(UndeclaredEventError) as caught:
        await for_handler(road, a_message()).publish(OrderPlaced("a"))
    assert "take published 'OrderPlaced' but declares PaymentTaken, PaymentDeclined" in str(caught.value)
    assert road.sent == []


def test_a_subclass_of_what_is_declared_is_undeclared():
    class Special(PaymentTaken, frozen=True):
        pass

    with pytest.raises(UndeclaredEventError, match="Special"):
        check_declared(Special("a"), "take", (PaymentTaken,))
    with pytest.raises(UndeclaredEventError, match="declares nothing"):
        check_declared(Special("a"), "take", ())


async def test_an_application_publishes_what_nothing_caused():
    road = Road()
    await ServicePublisher(COMPOSER, road.send).publish(OrderPlaced("a"))
    assert road.sent[0].message.causation_id is None


async def test_what_the_broker_refuses_is_raised_to_the_caller():
    async def refuse(outgoing):
        raise PublishError([Refusal("orders", outgoing[0].message.id, "too large")])

    with pytest.raises(PublishError, match="too large"):
        await ServicePublisher(COMPOSER, refuse).publish(OrderPlaced("a"))
