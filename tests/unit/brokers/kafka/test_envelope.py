"""What is written as a record is read from it, on the short way as on the long one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from antiphon.brokers.kafka.envelope import TYPES, from_record, key_bytes, key_text, to_record, unread
from antiphon.errors import UnrecognizedMessageError
from antiphon.events.message import Message
from antiphon.events.wire import recognize, to_binary, to_plain, to_structured

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
MAYBE = st.none() | TEXT
MICROSECONDS = st.integers(0, 7_000_000_000_000_000)
TIMES = MICROSECONDS.map(lambda n: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=n))
NAMES = st.from_regex(r"x[a-z0-9]{1,8}", fullmatch=True)
MESSAGES = st.builds(
    Message,
    id=TEXT,
    type=TEXT,
    time=TIMES,
    data=st.none() | st.binary(max_size=20),
    key=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    source=st.just("") | TEXT,
    schema_version=st.integers(1, 2000),
    content_type=st.none() | st.just("application/json") | st.just("text/plain; charset=utf-8"),
    correlation_id=MAYBE,
    causation_id=MAYBE,
    traceparent=MAYBE,
    tracestate=MAYBE,
    deadline=st.none() | TIMES,
    tenant=MAYBE,
    extensions=st.dictionaries(NAMES, TEXT | st.booleans() | st.integers(-(10**12), 10**12), max_size=3),
)
SENT = Message("01-a", "OrderPlaced", datetime(2026, 1, 31, 9, 30, tzinfo=UTC), b"{}", "o-1", "shop")


def received(headers):
    """As a consumer of Kafka's gets them."""
    return {name: value.encode() if isinstance(value, str) else value for name, value in headers}


def read(message):
    return from_record(received(to_record(message)), key_bytes(message.key), message.data, 0)


@given(MESSAGES)
def test_a_message_is_read_as_it_was_written(message):
    assert read(message) == message


@given(MESSAGES.filter(lambda message: not message.extensions))
def test_the_short_way_writes_what_the_long_one_does(message):
    assert received(to_record(message)) == received(to_binary(message)[0].items())


@given(MESSAGES)
def test_the_short_way_reads_what_the_long_one_does(message):
    headers = to_binary(structs.replace(message, extensions={}))[0]
    short = from_record(received(headers.items()), key_bytes(message.key), message.data, 0)
    assert short == recognize(headers, message.data)


def test_numbers_and_booleans_among_the_extensions_stay_what_they_are():
    sent = structs.replace(SENT, extensions={"retries": -3, "sampled": True, "note": "true"})
    assert dict(received(to_record(sent)))[TYPES] == b"retries=int,sampled=bool"
    assert {name: type(value) for name, value in read(sent).extensions.items()} == {
        "retries": int, "sampled": bool, "note": str,
    }  # fmt: skip


@pytest.mark.parametrize("types", ["retries=int", "retries=bool", "gone=int", "retries", "=", "retries=float"])
def test_a_type_that_does_not_fit_leaves_text(types):
    headers = {**received(to_record(SENT)), "ce_retries": b"often", TYPES: types.encode()}
    assert from_record(headers, b"o-1", b"{}", 0).extensions == {"retries": "often"}


@pytest.mark.parametrize("write", [to_structured, to_plain])
def test_other_forms_are_read_as_well(write):
    assert from_record({}, b"o-1", write(SENT), 0) == SENT


def test_what_others_leave_out_comes_from_the_record():
    headers = {"ce_specversion": b"1.0", "ce_id": b"7", "ce_source": b"theirs", "ce_type": b"OrderPlaced"}
    found = from_record(headers, b"o-9", None, 1_700_000_000_123)
    assert (found.key, found.data) == ("o-9", None)
    assert found.time == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1_700_000_000_123)


def test_a_key_that_is_no_text_is_shown_in_digits():
    assert key_text(b"\x00\xff") == "0x00ff"
    assert key_text(b"\x7f\xc3\xa9") == "\x7fé"


@pytest.mark.parametrize("headers", [{}, {"ce_id": b"7"}, {"ce_id": None, "ce_specversion": b"1.0"}])
def test_what_is_none_of_the_forms_is_refused(headers):
    with pytest.raises(UnrecognizedMessageError):
        from_record(headers, None, b"not ours", 0)


def test_what_stands_for_a_broken_record_has_all_of_it_and_the_same_id_each_time():
    broken = [unread("orders/1@7", {"a": b"1", "content-type": b"text/csv"}, b"k", b"x;y") for _ in range(2)]
    assert broken[0].id == broken[1].id == "record:orders/1@7"
    assert (broken[0].data, broken[0].key, broken[0].content_type) == (b"x;y", "k", "text/csv")
    assert broken[0].extensions == {"a": "1"}


@pytest.mark.parametrize("extensions", [{}, {"note": "a\0b"}])
def test_what_may_hold_a_zero_is_no_text_since_the_driver_cuts_texts_there(extensions):
    message = Message("id\0end", "Type", datetime.now(UTC), b"", "key\0end", "urn:a\0b", extensions=extensions)
    headers = dict(to_record(message))
    assert headers["ce_id"] == b"id\0end"
    assert headers["ce_partitionkey"] == b"key\0end"
    assert headers["ce_source"] == b"urn:a\0b"
