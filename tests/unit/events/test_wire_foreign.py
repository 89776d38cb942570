"""What others send is understood where it can be, and refused by name where it cannot."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from antiphon.errors import UnrecognizedMessageError
from antiphon.events.message import Message
from antiphon.events.wire import from_binary, from_plain, from_structured, recognize, to_plain
from tests.unit.events.messages import OFFSETS

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HEADERS = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/till", "ce_type": "Sold"}


def structured(**members: object) -> Message:
    required = {"specversion": "1.0", "id": "1", "source": "/till", "type": "Sold"}
    return from_structured(msgspec.json.encode(required | members))


def plain(**members: object) -> Message:
    return from_plain(msgspec.json.encode({"eventType": "Sold", "eventId": "1"} | members))


@given(moment=st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS))  # noqa: DTZ001  # aware
def test_times_with_any_offset_are_read_as_the_same_moment(moment: datetime) -> None:
    assert structured(time=moment.isoformat()).time == moment
    assert plain(timestamp=moment.isoformat()).time == moment
    assert from_binary(HEADERS | {"ce_time": moment.isoformat()}, None).time == moment
    assert structured(time=moment.isoformat()).time.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("written", "microsecond"),
    [
        ("2026-01-31T12:00:00Z", 0),
        ("2026-01-31t12:00:00.5z", 500_000),
        ("2026-01-31T12:00:00.123456789Z", 123_456),
        ("2026-01-31T12:00:00.000000999999999Z", 0),
        ("2026-01-31T14:00:00.1234567+02:00", 123_456),
        ("2026-01-31 12:00:00.999999-00:00", 999_999),
    ],
)
def test_fractions_of_any_length_are_read_to_the_microsecond(written: str, microsecond: int) -> None:
    assert structured(time=written).time == NOON.replace(microsecond=microsecond)


def test_a_time_without_an_offset_is_taken_as_utc() -> None:
    assert plain(timestamp="2026-01-31T12:00:00").time == NOON


@pytest.mark.parametrize("number", [1769860800, 1769860800.0, 1769860800000, 1769860800000.0])
def test_plain_timestamps_may_be_seconds_or_milliseconds_since_1970(number: float) -> None:
    assert plain(timestamp=number).time == NOON


def test_a_missing_time_is_when_the_broker_received_it() -> None:
    assert recognize(HEADERS, b"", received_at=NOON).time == NOON
    assert recognize({}, b'{"eventType":"Sold","eventId":"1"}', received_at=NOON).time == NOON
    assert recognize({}, b'{"specversion":"1.0","id":"1","source":"a","type":"b"}', received_at=NOON).time == NOON


def test_the_brokers_key_stands_in_for_a_missing_one_only() -> None:
    assert recognize(HEADERS, b"", key="k").key == "k"
    assert recognize(HEADERS | {"ce_partitionkey": "own"}, b"", key="k").key == "own"


@pytest.mark.parametrize("version", [3, "3", "v3", "3.1.4"])
def test_schema_versions_may_be_written_as_numbers_text_or_dotted(version: object) -> None:
    assert plain(schemaVersion=version).schema_version == 3
    assert structured(schemaversion=version).schema_version == 3


def test_unset_members_count_as_missing() -> None:
    found = structured(time=None, data=None, deadline=None, subject=None, datacontenttype=None)
    assert found.data is None
    assert found.deadline is None
    assert found.extensions == {}


def test_fractions_and_objects_in_extensions_survive_as_their_json() -> None:
    assert structured(ratio=1.5, place={"x": [1]}).extensions == {"ratio": "1.5", "place": '{"x":[1]}'}


def test_structured_text_data_is_the_text_itself() -> None:
    assert structured(datacontenttype="application/xml", data="<å/>").data == "<å/>".encode()
    assert structured(datacontenttype="application/json", data="<å/>").data == '"<å/>"'.encode()


def test_structured_data_without_a_content_type_is_json() -> None:
    found = structured(data={"a": 1})
    assert (found.content_type, found.data) == ("application/json", b'{"a":1}')


def test_a_byte_order_mark_is_ignored() -> None:
    assert recognize({}, b"\xef\xbb\xbf" + b'{"eventType":"Sold","eventId":"1"}').type == "Sold"


def test_ids_that_are_numbers_are_read_as_text() -> None:
    assert plain(eventId=42).id == "42"


def test_http_headers_are_percent_decoded_and_unquoted() -> None:
    headers = {name.replace("_", "-"): value for name, value in HEADERS.items()}
    assert (
        recognize(headers | {"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80"}, b"").extensions["subject"] == "Euro € 😀"
    )
    assert recognize(headers | {"ce-subject": '"say \\"hi\\""'}, b"").extensions["subject"] == 'say "hi"'


def test_kafka_headers_are_taken_as_they_are() -> None:
    assert recognize(HEADERS | {"ce_subject": "100%25"}, b"").extensions["subject"] == "100%25"


def test_transport_headers_are_no_part_of_the_message() -> None:
    assert recognize(HEADERS | {"traceparent": "hop", "x-retry": "1"}, b"").extensions == {}


def test_a_foreign_trace_context_becomes_a_traceparent_and_keeps_its_parent() -> None:
    trace = {
        "traceId": "4BF92F3577B34DA6A3CE929D0E0E4736",
        "spanId": "00f067aa0ba902b7",
        "parentSpanId": "b7ad6b7169203331",
    }
    found = plain(traceContext=trace, data={"a": 1})
    assert found.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert found.extensions == {"parentspanid": "b7ad6b7169203331"}
    written = msgspec.json.decode(to_plain(found))
    assert written["traceContext"] == {name: value.lower() for name, value in trace.items()}
    assert "parentspanid" not in written


def test_a_trace_context_of_another_shape_survives() -> None:
    found = plain(traceContext={"traceId": "abc", "spanId": 7, "baggage": {"a": "b"}})
    assert found.traceparent is None
    assert found.extensions == {"traceid": "abc", "spanid": 7, "baggage": '{"a":"b"}'}
    assert plain(traceContext="none").extensions == {"traceContext": "none"}


def test_the_plain_envelope_has_the_members_that_teams_expect() -> None:
    message = plain(
        timestamp="2026-01-31T12:00:00Z",
        schemaVersion=2,
        traceContext={"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"},
        data={"total": "9.99"},
    )
    assert to_plain(message) == (
        b'{"eventType":"Sold","eventId":"1","timestamp":"2026-01-31T12:00:00Z","schemaVersion":2,'
        b'"traceContext":{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"},'
        b'"data":{"total":"9.99"}}'
    )


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({}, None, "found an empty body, headers: none"),
        ({}, b"", "found an empty body"),
        ({"x-a": "1"}, b"\x00\x01", r"2 bytes beginning b'\x00\x01', headers: x-a"),
        ({}, b"[1]", "3 bytes beginning b'[1]'"),
        ({}, b'{"a":1,"b":2}', "a JSON object with a, b; headers: none"),
        ({}, b'{"eventType":"Sold"}', "plain envelope: eventId is missing"),
        ({}, b'{"eventType":{},"eventId":"1"}', "plain envelope: eventType is {}, expected text"),
        ({}, b'{"eventType":"","eventId":"1"}', "plain envelope: eventType is empty"),
        ({}, b'{"eventType":"Sold","eventId":"1","timestamp":"soon"}', "timestamp is 'soon', expected a time"),
        ({}, b'{"eventType":"Sold","eventId":"1","timestamp":1e400}', "expected a time"),
        (
            {},
            b'{"eventType":"Sold","eventId":"1","schemaVersion":"x"}',
            "schemaVersion is 'x', expected a whole number",
        ),
        ({}, b'{"eventType":"Sold","eventId":"1","schemaVersion":-1}', "schemaVersion is -1, expected a whole number"),
        ({}, b'{"eventType":"Sold","eventId":"1","schemaVersion":true}', "schemaVersion is True"),
        ({}, b'{"eventType":"Sold","eventId":"1","dataBase64":"*"}', "dataBase64 is no Base64"),
        ({}, b'{"specversion":"0.3","id":"1","source":"a","type":"b"}', "specversion is '0.3'"),
        ({}, b'{"specversion":"1.0","id":"1","type":"b"}', "source is missing"),
        ({"ce_id": "1"}, b"", "CloudEvents in binary mode: specversion is missing"),
        (HEADERS | {"ce_time": "60"}, b"", "time is '60'"),
        (HEADERS | {"ce_deadline": "0001-01-01T00:00:00+14:00"}, b"", "deadline is '0001"),
        ({"content-type": "application/cloudevents+avro"}, b"x", "'application/cloudevents+avro'"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", "'application/cloudevents-batch+json'"),
        ({"content-type": "application/cloudevents+json"}, b"", "with an empty body"),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"\xff"}', "is no JSON object"),
    ],
)
def test_what_is_no_message_is_refused_by_what_was_found(
    headers: dict[str, str], body: bytes | None, said: str
) -> None:
    with pytest.raises(UnrecognizedMessageError) as refused:
        recognize(headers, body)
    assert said in str(refused.value)


_SCRAPS = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[" * 3000, b"]", b":", b",", b'"', b"\\", b"\xff", b"null", b"1e999", b'"specversion"', b'"1.0"',
         b'"eventType"', b'"eventId"', b'"data"', b'"traceContext"', b'"extensions"', b'"time"', b"12"]
    ),
    max_size=14,
).map(b"".join)  # fmt: skip


def is_message(headers: dict[str, str], body: bytes) -> bool:
    try:
        return isinstance(recognize(headers, body), Message)
    except UnrecognizedMessageError:
        return False


@given(body=st.one_of(st.binary(), _SCRAPS), declared=st.booleans())
def test_bytes_of_no_form_are_refused_and_nothing_else_is_raised(body: bytes, declared: bool) -> None:
    assert not is_message({"content-type": "application/cloudevents+json"} if declared else {}, body)


_ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["traceId", "spanId", "a"]), inner),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    ["specversion", "id", "source", "type", "time", "data", "data_base64", "datacontenttype", "schemaversion",
     "deadline", "eventType", "eventId", "timestamp", "schemaVersion", "traceContext", "extensions", "dataBase64",
     "contentType", "key"]
)  # fmt: skip


@given(members=st.dictionaries(_NAMES, _ANY_JSON), form=st.sampled_from(["structured", "plain"]))
def test_members_of_any_type_are_read_or_refused_and_nothing_else_is_raised(
    members: dict[str, object], form: str
) -> None:
    structured_members = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    required = structured_members if form == "structured" else {"eventType": "t", "eventId": "1"}
    event(f"read: {is_message({}, msgspec.json.encode(members | required))}")
