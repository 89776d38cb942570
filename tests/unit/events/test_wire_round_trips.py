"""Nothing of a message is lost in any wire form, and each is recognized for what it is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.events.cloudevents import PREFIXES, STRUCTURED
from antiphon.events.message import Message
from antiphon.events.notation import extension_text
from antiphon.events.wire import (
    from_binary,
    from_plain,
    from_structured,
    recognize,
    to_binary,
    to_plain,
    to_structured,
)
from tests.unit.events.messages import TEXT, messages

PLAIN_NAMES = st.one_of(
    TEXT, st.sampled_from(["eventType", "data", "extensions", "traceContext", "parentspanid", "userId"])
)


def same(found: Message, sent: Message) -> bool:
    """Equal, the JSON data compared without the blanks around it."""
    return _trimmed(found) == _trimmed(sent)


def _trimmed(message: Message) -> Message:
    data = message.data
    return msgspec.structs.replace(message, data=data if data is None else data.strip(b" \t\r\n"))


@given(message=messages(), prefix=st.sampled_from(PREFIXES))
def test_binary_mode_keeps_everything_and_extensions_as_text(message: Message, prefix: str) -> None:
    headers, data = to_binary(message, prefix)
    as_text = {name: extension_text(value) for name, value in message.extensions.items()}
    expected = msgspec.structs.replace(message, extensions=as_text)
    assert from_binary(headers, data, prefix) == expected
    assert recognize(headers, data) == expected


@given(message=messages(), prefix=st.sampled_from(PREFIXES))
def test_binary_mode_survives_brokers_that_change_the_case_of_headers(message: Message, prefix: str) -> None:
    headers, data = to_binary(message, prefix)
    shouted = {name.upper(): value for name, value in headers.items()}
    assert recognize(shouted, data) == recognize(headers, data)


@given(message=messages())
def test_structured_mode_keeps_everything_and_the_types_of_extensions(message: Message) -> None:
    body = to_structured(message)
    assert same(from_structured(body), message)
    assert same(recognize({}, body), message)
    assert same(recognize({"Content-Type": f"{STRUCTURED}; charset=utf-8"}, body), message)


@given(message=messages(names=PLAIN_NAMES))
def test_the_plain_envelope_keeps_everything_whatever_extensions_are_called(message: Message) -> None:
    body = to_plain(message)
    assert same(from_plain(body), message)
    assert same(recognize({}, body), message)


@given(message=messages())
def test_the_forms_chain_without_loss(message: Message) -> None:
    through_structured = from_structured(to_structured(message))
    through_plain = from_plain(to_plain(through_structured))
    assert same(through_plain, message)


@given(message=messages(names=PLAIN_NAMES))
def test_names_that_cloudevents_forbids_are_written_as_allowed_ones_and_no_value_is_lost(message: Message) -> None:
    found = from_structured(to_structured(message))
    assert sorted(map(repr, found.extensions.values())) == sorted(map(repr, message.extensions.values()))
    assert all(name.isascii() and name.isalnum() and name == name.lower() for name in found.extensions)


@pytest.mark.parametrize("digits", [b"10.10", b"123456789012345678901234567890", b"1e-400", b"0.10000000000000000555"])
def test_numbers_in_json_data_keep_every_digit(digits: bytes) -> None:
    data = b'{"amount": ' + digits + b"}"
    message = msgspec.structs.replace(recognize({}, b'{"eventType":"Paid","eventId":"1"}'), data=data)
    assert b'"data":' + data in to_structured(message)
    assert b'"data":' + data in to_plain(message)
    assert from_structured(to_structured(message)).data == data
    assert from_plain(to_plain(message)).data == data


@given(message=messages())
def test_headers_over_http_are_printable_ascii(message: Message) -> None:
    headers, _ = to_binary(message, "ce-")
    for name, value in headers.items():
        assert name == "content-type" or all("!" <= character <= "~" and character != '"' for character in value)
