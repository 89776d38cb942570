"""What the message of an event inherits from its cause, and what is its own."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import structs

from antiphon.errors import DeclarationError
from antiphon.runtime.compose import Composer
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import NoEvent, OrderPlaced, PaymentTaken, a_message

NOW = datetime(2026, 5, 1, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def composer() -> Composer:
    return Composer("payments", VirtualClock(NOW))


def test_a_first_message_begins_its_own_story(composer):
    topic, message = composer.first(OrderPlaced("order-1", 3))
    assert topic == "orders"
    assert (message.type, message.source, message.key, message.time) == ("OrderPlaced", "payments", "order-1", NOW)
    assert (message.correlation_id, message.causation_id, message.schema_version) == (None, None, 1)
    assert message.data == b'{"order_id":"order-1","number":3}'


def test_first_messages_have_ids_of_their_own(composer):
    assert composer.first(OrderPlaced("a")).message.id != composer.first(OrderPlaced("a")).message.id


def test_a_key_can_be_given(composer):
    assert composer.first(OrderPlaced("a"), key="b").message.key == "b"
    assert composer.caused(PaymentTaken("a"), a_message(), "take", 0, key="b").message.key == "b"


def test_what_is_caused_inherits_the_story(composer):
    deadline = datetime(2026, 6, 1, tzinfo=UTC)
    cause = a_message(
        correlation_id="story",
        traceparent=TRACE,
        tracestate="v=1",
        deadline=deadline,
        tenant="acme",
        extensions={"a": 1},
    )
    topic, message = composer.caused(PaymentTaken("order-1"), cause, "take", 0)
    assert topic == "payments"
    assert (message.correlation_id, message.causation_id) == ("story", cause.id)
    assert (message.tracestate, message.deadline, message.tenant) == ("v=1", deadline, "acme")
    assert (message.source, message.time) == ("payments", NOW)
    assert dict(message.extensions) == {}


def test_the_first_cause_names_the_story(composer):
    cause = a_message()
    assert composer.caused(PaymentTaken("a"), cause, "take", 0).message.correlation_id == cause.id


def test_the_trace_goes_on_in_a_span_of_its_own(composer):
    message = composer.caused(PaymentTaken("a"), a_message(traceparent=TRACE), "take", 0).message
    version, trace, span, flags = message.traceparent.split("-")
    assert (version, trace, flags) == ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    assert span != "00f067aa0ba902b7"
    assert len(span) == 16
    assert int(span, 16)


def test_spans_of_siblings_differ(composer):
    cause = a_message(traceparent=TRACE)
    spans = {composer.caused(PaymentTaken("a"), cause, "take", n).message.traceparent for n in range(50)}
    assert len(spans) == 50


def test_a_trace_that_is_none_is_handed_on(composer):
    assert composer.caused(PaymentTaken("a"), a_message(traceparent="odd"), "take", 0).message.traceparent == "odd"


def test_ids_of_what_is_caused_are_the_same_each_time_and_for_nothing_else(composer):
    cause = a_message()

    def id_of(cause=cause, service="payments", handler="take", index=0):
        return Composer(service, VirtualClock()).caused(PaymentTaken("a"), cause, handler, index).message.id

    assert id_of() == id_of()
    others = [id_of(a_message()), id_of(service="other"), id_of(handler="other"), id_of(index=1)]
    assert len({id_of(), *others}) == 5


def test_what_is_no_event_cannot_be_composed(composer):
    with pytest.raises(DeclarationError):
        composer.first(NoEvent("a"))


def test_a_subclass_of_an_event_is_no_event(composer):
    class Special(OrderPlaced, frozen=True):
        pass

    with pytest.raises(DeclarationError):
        composer.first(Special("a"))


def test_composing_leaves_the_cause_as_it_was(composer):
    cause = a_message(correlation_id="story")
    before = structs.asdict(cause)
    composer.caused(PaymentTaken("a"), cause, "take", 0)
    assert structs.asdict(cause) == before
