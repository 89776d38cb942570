"""Publishing by hand: only what is declared, in order, with repeatable ids."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.errors import PublishError, Refusal, UndeclaredEventError, UsageError
from antiphon.runtime.compose import Composer
from antiphon.runtime.publisher import HandlerPublisher, ServicePublisher, check_declared
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import OrderPlaced, PaymentDeclined, PaymentTaken, a_message

CLOCK = VirtualClock()
COMPOSER = Composer("payments", CLOCK)
NOW, HOUR = CLOCK.now(), timedelta(hours=1)


class Road:
    def __init__(self):
        self.sent = []
        self.kept = []

    async def send(self, outgoing):
        self.sent += outgoing

    async def keep(self, outgoing, at):
        self.kept += [(one.message, at) for one in outgoing]


def for_handler(road, cause):
    return HandlerPublisher(COMPOSER, cause, "take", (PaymentTaken, PaymentDeclined), road.send, road.keep)


def for_application(road):
    return ServicePublisher(COMPOSER, road.send, road.keep)


EITHER = pytest.mark.parametrize(
    "publisher", [lambda road: for_handler(road, a_message()), for_application], ids=["handler", "application"]
)


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
    await for_application(road).publish(OrderPlaced("a"))
    assert road.sent[0].message.causation_id is None


async def test_what_the_broker_refuses_is_raised_to_the_caller():
    async def refuse(outgoing):
        raise PublishError([Refusal("orders", outgoing[0].message.id, "too large")])

    with pytest.raises(PublishError, match="too large"):
        await ServicePublisher(COMPOSER, refuse, Road().keep).publish(OrderPlaced("a"))


@EITHER
async def test_with_a_time_it_is_kept_until_then_and_happened_now(publisher):
    road = Road()
    published = await publisher(road).publish(PaymentTaken("a"))
    kept = await publisher(road).publish(PaymentTaken("a"), delay=HOUR)
    also = await publisher(road).publish(PaymentTaken("a"), at=NOW - HOUR, key="b")
    assert [one.message.id for one in road.sent] == [published]
    assert [(message.id, message.key, at) for message, at in road.kept] == [
        (kept, "a", NOW + HOUR),
        (also, "b", NOW - HOUR),
    ]
    assert {message.time for message, _ in road.kept} == {NOW}


@EITHER
async def test_a_deadline_is_written_on_the_envelope(publisher):
    road = Road()
    await publisher(road).publish(PaymentTaken("a"), deadline=HOUR)
    await publisher(road).publish(PaymentTaken("a"), delay=HOUR, deadline=HOUR)
    await publisher(road).publish(PaymentTaken("a"))
    assert [one.message.deadline for one in road.sent] == [NOW + HOUR, None]
    assert [message.deadline for message, _ in road.kept] == [NOW + 2 * HOUR]


@EITHER
async def test_a_time_that_cannot_be_is_refused_and_nothing_is_published(publisher):
    road = Road()
    with pytest.raises(UsageError, match="both say when"):
        await publisher(road).publish(PaymentTaken("a"), at=NOW, delay=HOUR)
    assert road.sent == road.kept == []


async def test_a_repeated_attempt_schedules_the_same_ids_whatever_its_times_are():
    road, cause = Road(), a_message()
    ids = list[list[str]]()
    for delay in (HOUR, 2 * HOUR):
        publisher = for_handler(road, cause)
        events = PaymentTaken("a"), PaymentTaken("a")
        ids.append([await publisher.publish(each, delay=delay) for each in events])
        ids[-1] += [await publisher.publish(each) for each in events]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4


async def test_what_is_scheduled_takes_no_id_from_what_is_returned():
    road = Road()
    publisher = for_handler(road, a_message())
    await publisher.publish(PaymentTaken("a"), delay=HOUR)
    assert publisher.count == 0
    await publisher.publish(PaymentTaken("a"))
    assert publisher.count == 1


async def test_what_is_caused_inherits_a_deadline_and_a_stricter_one_wins():
    road = Road()
    publisher = for_handler(road, a_message(deadline=NOW + 2 * HOUR))
    for deadline in (None, HOUR, 3 * HOUR):
        await publisher.publish(PaymentTaken("a"), deadline=deadline)
    assert [one.message.deadline for one in road.sent] == [NOW + 2 * HOUR, NOW + HOUR, NOW + 2 * HOUR]


async def test_what_is_scheduled_for_after_an_inherited_deadline_begins_without_it():
    road = Road()
    publisher = for_handler(road, a_message(deadline=NOW + HOUR))
    await publisher.publish(PaymentTaken("a"), delay=HOUR / 2)
    await publisher.publish(PaymentTaken("a"), delay=HOUR)
    await publisher.publish(PaymentTaken("a"), delay=HOUR, deadline=HOUR)
    assert [message.deadline for message, _ in road.kept] == [NOW + HOUR, None, NOW + 2 * HOUR]


async def test_what_is_undeclared_is_not_scheduled_either():
    road = Road()
    with pytest.raises(UndeclaredEventError):
        await for_handler(road, a_message()).publish(OrderPlaced("a"), delay=HOUR)
    assert road.kept == []
