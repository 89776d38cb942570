"""What is written in one sweep is what the wire form says, and whatever others wrote is recognized."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from antiphon.brokers.ports import Partition
from antiphon.brokers.redis.envelope import to_delivery, to_packed
from antiphon.brokers.redis.resp import ReplyReader
from antiphon.events.message import Message
from antiphon.events.wire import to_binary, to_plain, to_structured

LANE, ID = Partition("orders", 3), b"1767225600123-4"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SOME = st.none() | TEXT
MESSAGE = Message("1", "OrderPlaced", datetime(2026, 1, 1, tzinfo=UTC), b"{}", "o-1", "shop")


def fields_of(message):
    count, packed = to_packed(message)
    reader = ReplyReader(ValueError)
    reader.feed(b"*%d\r\n%b" % (count, packed))
    return reader.take()


@given(
    st.builds(
        Message,
        id=TEXT,
        type=TEXT,
        time=st.datetimes(timezones=st.just(UTC)),
        data=st.none() | st.binary(max_size=20),
        key=SOME,
        source=TEXT,
        schema_version=st.integers(0, 1000),
        content_type=SOME,
        correlation_id=SOME,
        causation_id=SOME,
        traceparent=SOME,
        tracestate=SOME,
        deadline=st.none() | st.just(datetime(2026, 2, 1, tzinfo=UTC)),
        tenant=SOME,
        extensions=st.just({}) | st.just({"region": "eu"}) | st.just({"region": "eu", "tries": 3, "sampled": True}),
    )
)
def test_a_message_arrives_as_it_was(message):
    delivery = to_delivery(LANE, ID, fields_of(message))
    if delivery.message.content_type != message.content_type:  # what the structured form cannot say
        assert message.content_type is None
        delivery.message = structs.replace(delivery.message, content_type=None)
    assert delivery.problem is None
    assert delivery.message == message
    assert delivery.position == ID.decode()


def test_what_is_written_in_one_sweep_is_cloudevents_in_binary_mode():
    headers, data = to_binary(structs.replace(MESSAGE, correlation_id="c", tenant="t"))
    fields = fields_of(structs.replace(MESSAGE, correlation_id="c", tenant="t"))
    found = {name.decode(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
    assert found.pop("data") == data
    assert {name: value.decode() for name, value in found.items()} == headers


def test_a_time_of_another_zone_is_written_in_utc():
    there = structs.replace(MESSAGE, time=MESSAGE.time.astimezone(timezone(timedelta(hours=5))))
    assert to_delivery(LANE, ID, fields_of(there)).message == MESSAGE


@pytest.mark.parametrize("field", [b"data", b"payload"])
@pytest.mark.parametrize("write", [to_structured, to_plain])
def test_what_others_wrote_in_one_field_is_recognized(field, write):
    assert to_delivery(LANE, ID, [field, write(MESSAGE)]).message == MESSAGE


def test_headers_in_another_order_are_recognized():
    headers, data = to_binary(MESSAGE)
    flat = [text.encode() for name, value in reversed(headers.items()) for text in (name, value)]
    assert to_delivery(LANE, ID, [b"data", data, *flat]).message == MESSAGE


@pytest.mark.parametrize(
    "fields",
    [
        [b"data", b"rubbish"],
        [b"a", b"1", b"b", b"2"],
        [b"ce_id", b"1", b"data", b"{}"],
        [b"\xff", b"\xfe", b"data", b"{}"],
        [b"ce_specversion", b"1.0", b"ce_id", b"", b"data", b"{}"],
    ],
)
def test_what_is_no_message_comes_with_its_problem_and_the_time_of_its_arrival(fields):
    delivery = to_delivery(LANE, ID, fields)
    assert delivery.problem is not None
    assert delivery.message.id == "orders/3@1767225600123-4"
    assert delivery.message.time == datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
