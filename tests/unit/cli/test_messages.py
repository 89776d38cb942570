"""Messages and dead letters are shown whole to programs and short to people."""

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import structs

from antiphon.brokers.ports import Delivery, Partition
from antiphon.cli.messages import (
    letter_in_json,
    letter_lines,
    message_in_json,
    message_line,
    stored_in_json,
    stored_lines,
)
from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter, RedriveState, StoredLetter
from antiphon.storage.set_aside import Attempt

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def delivery(data=b'{"a": 1}', **attributes):
    message = Message(id="m-1", type="OrderPlaced", time=NOON, data=data, **attributes)
    return Delivery(Partition("orders", 3), "17", message)


def letter(attempts):
    one = delivery(key="7")
    return DeadLetter(
        message=one.message,
        topic="orders",
        partition=3,
        position="17",
        service="payments",
        handler="authorise",
        attempts=attempts,
        reason="ValueError",
        code_version="",
        parked_at=NOON,
    )


def test_json_carries_place_envelope_and_decoded_data():
    shown = message_in_json(delivery(key="7", extensions={"region": "eu"}))
    expected = {"topic": "orders", "partition": 3, "position": "17", "key": "7", "data": {"a": 1}}
    assert expected.items() <= shown.items()
    assert shown["extensions"] == {"region": "eu"}
    assert "tenant" not in shown
    msgspec.json.encode(shown)


@pytest.mark.parametrize(
    ("data", "content_type"), [(b"\xff\x00", "application/octet-stream"), (b"{not json", "application/json")]
)
def test_data_that_is_no_json_is_base64(data, content_type):
    shown = message_in_json(delivery(data, content_type=content_type))
    assert "data" not in shown
    assert msgspec.json.decode(f'"{shown["data_base64"]}"', type=bytes) == data


def test_a_tombstone_has_no_data():
    assert message_in_json(delivery(None))["data"] is None
    assert message_line(delivery(None)).endswith("(tombstone)")


def test_a_line_for_people_is_one_line():
    assert message_line(delivery(b'{\n"a": 1}', key="7")) == '12:00:00.000 OrderPlaced 7 { "a": 1}'
    assert message_line(delivery(b"\xff", content_type="image/png")).endswith("(1 bytes of image/png)")


def test_a_dead_letter_is_told_with_its_last_error_and_its_place():
    told = letter_lines(letter((Attempt(NOON, "KeyError", "first"), Attempt(NOON, "ValueError", "a\nb"))))
    assert told[0].endswith("payments/authorise  OrderPlaced 7  (2 attempts)")
    assert told[1] == "    ValueError: a b"
    assert told[2] == "    message m-1 at orders/3@17"
    assert told[3] == f"    id {letter(()).id}"


def test_a_dead_letter_without_an_attempt_is_told_with_its_reason():
    assert letter_lines(letter(()))[1] == "    ValueError"


def test_a_dead_letter_in_json_carries_its_whole_message_and_every_attempt():
    shown = letter_in_json(letter((Attempt(NOON, "ValueError", "bad"),)))
    assert shown["message"]["data"] == {"a": 1}
    assert shown["group"] == "payments"
    assert b"bad" in msgspec.json.encode(shown)


def test_a_dead_letter_in_the_store_is_told_with_what_was_done_to_it():
    edited = structs.replace(letter(()).message, data=b'{"a": 2}')
    stored = StoredLetter(number=7, letter=letter(()), edited=edited, redrive="r1", busy="r1")
    assert stored_lines(stored)[0].endswith("(0 attempts, edited, being redriven by r1)")
    shown = stored_in_json(stored)
    assert (shown["number"], shown["state"], shown["redrive"], shown["redriving"]) == (7, "parked", "r1", True)
    assert (shown["message"]["data"], shown["edited"]) == ({"a": 1}, {"data": {"a": 2}})
    assert not shown["failed_again"]
    assert "edited" not in stored_in_json(StoredLetter(number=7, letter=letter(())))


def test_a_dead_letter_that_failed_again_says_in_which_redrive():
    stored = StoredLetter(number=7, letter=letter(()), redrive="r1", redrive_state=RedriveState.FAILED)
    assert stored_lines(stored)[0].endswith("(0 attempts, failed again in r1)")
    shown = stored_in_json(stored)
    assert (shown["redrive"], shown["redriving"], shown["failed_again"]) == ("r1", False, True)
