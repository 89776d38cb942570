"""What is written and read in one sweep is the same as by the codecs of the wire forms."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from antiphon.brokers.nats.envelope import pack, size_of, unpack
from antiphon.brokers.ports import Partition
from antiphon.errors import UnrecognizedMessageError
from antiphon.events.message import Message
from antiphon.events.wire import HTTP, recognize, to_binary

HERE = Partition("orders", 3)
STORED = datetime(2026, 5, 1, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(["a%20b", '"q"', "a b", "\r\n"])
MAYBE = st.none() | TEXT
TIMES = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1900 < moment.year < 2100)
MESSAGES = st.builds(
    Message,
    id=TEXT,
    type=TEXT,
    time=TIMES,
    data=st.none() | st.binary(max_size=20),
    key=MAYBE,
    source=st.just("") | TEXT,
    schema_version=st.integers(1, 99),
    content_type=st.sampled_from([None, "application/json", "text/plain; v=1"]),
    correlation_id=MAYBE,
    causation_id=MAYBE,
    traceparent=MAYBE,
    tracestate=MAYBE,
    deadline=st.none() | TIMES,
    tenant=MAYBE,
    extensions=st.dictionaries(st.from_regex("[a-z]{3,8}x", fullmatch=True), TEXT | st.integers() | st.booleans()),
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    headers, body = pack(message, with_id=True)
    delivery = unpack(HERE, 17, headers, body, STORED)
    assert (delivery.partition, delivery.position, delivery.problem) == (HERE, "17", None)
    assert asdict(delivery.message) == asdict(message)
    assert all("\n" not in value for value in headers.values())


@given(MESSAGES)
def test_it_is_written_and_read_as_the_codecs_do(message: Message) -> None:
    headers, body = pack(message, with_id=False)
    assert recognize(headers, body, received_at=STORED) == message
    if "ce-id" in headers:
        assert (headers, body) == to_binary(message, HTTP)


@given(st.dictionaries(st.sampled_from(["ce-id", "ce-type", "ce-source", "ce-time", "ce-specversion", "x"]), TEXT))
def test_a_broken_message_is_told_as_the_codecs_tell_it(headers: dict[str, str]) -> None:
    delivery = unpack(HERE, 17, headers, b"body", STORED)
    if delivery.problem is None:
        assert delivery.message == recognize(headers, b"body", received_at=STORED)
        return
    assert delivery.message.data == b"body"
    with pytest.raises(UnrecognizedMessageError, match=re.escape(str(delivery.problem))):
        recognize(headers, b"body", received_at=STORED)


@given(MESSAGES)
def test_the_size_is_never_told_too_small(message: Message) -> None:
    headers, body = pack(message, with_id=True)
    written = b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n" + body
    assert len(written) <= size_of(headers, body) <= len(written) + 200 + 4 * len(headers)
