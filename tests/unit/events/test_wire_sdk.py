"""The CloudEvents project's own SDK reads what we write, and we read what it writes."""

from datetime import UTC, datetime

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import amqp, http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from antiphon.events.message import Message
from antiphon.events.wire import recognize, to_binary, to_structured

MESSAGE = Message(
    id="0190-1",
    type="OrderPlaced",
    time=datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=UTC),
    data=b'{"order_id":"1","total":"9.99"}',
    key="Åsa & 1%",
    source="/orders",
    schema_version=3,
    correlation_id="story",
    causation_id="cause",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    deadline=datetime(2026, 2, 1, tzinfo=UTC),
    tenant="acme",
    extensions={"subject": "order 1", "region": "eu"},
)
FORMAT = JSONFormat()


def check(event: BaseCloudEvent) -> None:
    assert event.get_id() == "0190-1"
    assert event.get_type() == "OrderPlaced"
    assert event.get_source() == "/orders"
    assert event.get_subject() == "order 1"
    assert event.get_time() == MESSAGE.time
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == {"order_id": "1", "total": "9.99"}
    assert event.get_extension("partitionkey") == "Åsa & 1%"
    assert str(event.get_extension("schemaversion")) == "3"
    assert event.get_extension("correlationid") == "story"
    assert event.get_extension("traceparent") == MESSAGE.traceparent
    assert event.get_extension("region") == "eu"


def test_the_sdk_reads_our_kafka_headers() -> None:
    headers, data = to_binary(MESSAGE)
    encoded = {name: value.encode() for name, value in headers.items()}
    check(kafka.from_binary(kafka.KafkaMessage(encoded, MESSAGE.key, data or b""), FORMAT))


def test_the_sdk_reads_our_http_headers() -> None:
    headers, data = to_binary(MESSAGE, "ce-")
    check(http.from_binary(http.HTTPMessage(headers, data or b""), FORMAT))


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
def test_the_sdk_reads_our_amqp_properties(prefix: str) -> None:
    headers, data = to_binary(MESSAGE, prefix)
    properties = {"content-type": headers.pop("content-type")}
    check(amqp.from_binary(amqp.AMQPMessage(properties, headers, data or b""), FORMAT))


def test_the_sdk_reads_our_structured_mode() -> None:
    check(FORMAT.read(CloudEvent, to_structured(MESSAGE)))


def test_the_sdk_reads_binary_data_and_no_data() -> None:
    packed = msgspec.structs.replace(MESSAGE, content_type="application/avro", data=b"\x00\xff")
    assert FORMAT.read(CloudEvent, to_structured(packed)).get_data() == b"\x00\xff"
    assert FORMAT.read(CloudEvent, to_structured(msgspec.structs.replace(MESSAGE, data=None))).get_data() is None


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_EVENTS = st.builds(
    CloudEvent,
    st.fixed_dictionaries(
        {"id": _TEXT, "source": _TEXT, "type": _TEXT, "time": st.datetimes(timezones=st.just(UTC))},
        optional={
            "subject": _TEXT,
            "partitionkey": _TEXT,
            "correlationid": _TEXT,
            "sequence": st.integers(0, 2**31 - 1),
            "sampled": st.booleans(),
            "dataschema": st.just("https://example.com/order.json"),
            "datacontenttype": st.just("application/json"),
        },
    ),
    st.none() | st.dictionaries(_TEXT, _TEXT | st.integers() | st.booleans(), max_size=3),
)


def agree(message: Message, event: BaseCloudEvent, *, typed: bool) -> None:
    attributes = dict(event.get_attributes())
    assert message.id == attributes.pop("id")
    assert message.source == attributes.pop("source")
    assert message.type == attributes.pop("type")
    assert message.time == attributes.pop("time")
    assert message.key == attributes.pop("partitionkey", None)
    assert message.correlation_id == attributes.pop("correlationid", None)
    attributes.pop("specversion")
    attributes.pop("datacontenttype", None)
    written = attributes if typed else {name: str(value).lower() for name, value in attributes.items()}
    found = message.extensions if typed else {name: str(value).lower() for name, value in message.extensions.items()}
    assert found == written
    if event.get_data() is not None:
        assert message.data is not None
        assert msgspec.json.decode(message.data) == event.get_data()


@given(event=_EVENTS)
def test_we_read_the_sdks_structured_mode(event: CloudEvent) -> None:
    agree(recognize({}, FORMAT.write(event)), event, typed=True)


@given(event=_EVENTS)
def test_we_read_the_sdks_kafka_headers(event: CloudEvent) -> None:
    written = kafka.to_binary(event, FORMAT)
    headers = {name: value.decode() for name, value in written.headers.items()}
    agree(recognize(headers, written.value), event, typed=False)


@given(event=_EVENTS)
def test_we_read_the_sdks_http_headers(event: CloudEvent) -> None:
    written = http.to_binary(event, FORMAT)
    agree(recognize(written.headers, written.body), event, typed=False)
