"""Messages survive the frames of AMQP, and what cannot be written is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from antiphon.brokers.rabbitmq.codec import Envelope, Plain, Positions, moment_of, objection, read, route
from antiphon.events.message import Message

MESSAGE = Message(
    "01-a", "OrderPlaced", datetime(2026, 1, 31, 9, 30, 1, 5, tzinfo=UTC), b'{"order_id":"o-1"}', "o-1", "shop"
)
WAY = route("shop.orders", "3")


def carried(message: Message, most: int = 131_000) -> Message:
    """What comes of it, through the driver's own reading of frames."""
    data = Envelope(WAY, message, {})(1, most, "position")
    frames: list[object] = []
    while data:
        size, channel, found = frame.unmarshal(data)
        assert channel == 1
        frames.append(found)
        data = data[size:]
    header = frames[1]
    assert isinstance(header, ContentHeader)
    body = b"".join(part.value for part in frames[2:] if isinstance(part, ContentBody))
    assert len(body) == header.body_size
    assert (header.properties.message_id, header.properties.delivery_mode) == ("position", 2)
    arrived, problem = read(header.properties.headers or {}, body, header.properties.content_type, "position", None)
    assert problem is None
    return arrived


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        replace(MESSAGE, data=None),
        replace(MESSAGE, data=b""),
        replace(MESSAGE, data=b"x" * 1000, content_type=None, source="", key=None),
        replace(MESSAGE, extensions={"region": "eu", "retries": -3, "sampled": True, "big": 1 << 62}),
        replace(MESSAGE, correlation_id="c", causation_id="d", traceparent="p", tracestate="s", tenant="t\u00fc"),
        replace(MESSAGE, deadline=MESSAGE.time + timedelta(days=1), schema_version=7, key="k\0\n"),
    ],
)
def test_a_message_arrives_as_it_was(message: Message) -> None:
    assert carried(message) == message
    assert carried(message, most=7) == message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (replace(MESSAGE, data=b"12345"), "5 bytes, the limit is 4"),
        (replace(MESSAGE, data=b"", id="\udc80"), "surrogates"),
        (replace(MESSAGE, data=b"", extensions={"large": 1 << 64}), "beyond what AMQP takes"),
        (replace(MESSAGE, data=b"", extensions={"x" * 200: "long"}), "128"),
        (replace(MESSAGE, data=b"", content_type="x" * 300), "255"),
    ],
)
def test_what_cannot_be_written_is_refused_and_the_text_says_why(message: Message, reason: str) -> None:
    assert reason in (objection(message, 4) or "")


def test_what_others_write_is_recognized_in_all_forms() -> None:
    structured = b'{"specversion":"1.0","id":"1","type":"T","source":"s","data":{"a":1}}'
    plain = b'{"eventType":"T","eventId":"1","timestamp":"2026-01-31T10:30:00Z","data":{}}'
    binary = {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": "1",
        "cloudEvents_type": "T",
        "cloudEvents_source": "s",
    }
    for headers, body, kind in (
        ({}, structured, "application/cloudevents+json"),
        ({}, plain, "application/json"),
        (binary, b"{}", "application/json"),
        ({**binary, "x-death": [{"count": 1}], "priority": 3}, b"{}", None),
    ):
        message, problem = read(headers, body, kind, "?", 0.0)
        assert (message.id, message.type, problem) == ("1", "T", None)


def test_what_is_no_message_comes_with_what_is_wrong_and_its_bytes() -> None:
    message, problem = read({"cloudEvents:id": 5}, b"\xff", None, "?", None)
    assert message.data == b"\xff"
    assert problem is not None


def test_positions_differ_and_say_when() -> None:
    one, other = Positions(), Positions()
    taken = [*one.take(100), *other.take(100)]
    assert len(set(taken)) == 200
    moment = moment_of(taken[0])
    assert moment is not None
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=5)
    assert moment_of("somebody else's") is None
    assert moment_of("zzzzzzzzzzzz-1") is None


def test_bytes_of_our_own_are_a_publish_as_well() -> None:
    data = Plain(route("", "queue"), b"{}")(2, 100, "id")
    size, channel, found = frame.unmarshal(data)
    assert (channel, getattr(found, "routing_key", None), getattr(found, "mandatory", None)) == (2, "queue", True)
    assert size < len(data)
