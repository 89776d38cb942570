"""A message given up is kept whole, once, with its diagnosis."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from antiphon.events.message import Message
from antiphon.storage.dead_letters import Attempt, DeadLetter, count, list_parked, park

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PLAIN = Message("m1", "OrderPlaced", NOW, b'{"order_id": "o1"}')
FULL = Message(
    id="m2",
    type="OrderPlaced",
    time=NOW,
    data=b"\xff\x00{",
    key="o1",
    source="/orders",
    schema_version=3,
    content_type="application/avro",
    correlation_id="c",
    causation_id="m0",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate="x=1",
    deadline=NOW + timedelta(hours=1),
    tenant="t",
    extensions={"tries": 3, "urgent": True, "note": "é"},
)
TOMBSTONE = Message("m3", "OrderPlaced", NOW, None, content_type=None)


def letter(message=PLAIN, position="17", **fields):
    attempts = (Attempt(NOW, "ValueError", "no such order", "Traceback ..."), Attempt(NOW, "KeyError", "'o1'"))
    values = {
        "topic": "orders",
        "partition": 3,
        "position": position,
        "service": "payments",
        "handler": "authorise",
        "attempts": attempts,
        "reason": "KeyError",
        "code_version": "1.2.3",
        "parked_at": NOW,
    }
    return DeadLetter(message=message, **(values | fields))


@pytest.mark.parametrize("message", [PLAIN, FULL, TOMBSTONE], ids=["plain", "full", "tombstone"])
async def test_a_message_comes_back_whole_with_its_diagnosis(tx, message):
    await park(tx, [letter(message)])
    assert await list_parked(tx) == [letter(message)]


async def test_parking_twice_keeps_one(tx):
    await park(tx, [letter(), letter()])
    await park(tx, [replace(letter(), reason="another")])
    assert await list_parked(tx) == [letter()]


@pytest.mark.parametrize(
    "other",
    [
        letter(position="18"),
        letter(partition=4),
        letter(topic="returns"),
        letter(handler="capture"),
        letter(group="payments-rerun"),
        letter(replace(PLAIN, id="m9")),
    ],
    ids=["position", "partition", "topic", "handler", "group", "message"],
)
async def test_another_place_handler_or_group_is_another_letter(tx, other):
    await park(tx, [letter(), other])
    assert await list_parked(tx) == [letter(), other]


async def test_the_group_is_the_services_unless_it_is_given(tx):
    assert letter().group == "payments"
    assert letter(group="mine").group == "mine"


async def test_they_are_listed_and_counted_by_group_in_order_of_parking(tx):
    letters = [letter(position=str(number), service="ab"[number % 2]) for number in range(6)]
    await park(tx, letters)
    assert await list_parked(tx, "a") == letters[::2]
    assert await list_parked(tx, limit=4) == letters[:4]
    assert [await count(tx), await count(tx, "a"), await count(tx, "nobody")] == [6, 3, 0]


async def test_they_are_seen_outside_once_committed(database, tx):
    await park(tx, [letter()])
    assert await count(database) == 0
    await tx.commit()
    assert await list_parked(database) == [letter()]
