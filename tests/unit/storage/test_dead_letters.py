"""A message given up is kept whole, once, with its diagnosis."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs
from msgspec.structs import replace

from antiphon.events.message import Message
from antiphon.storage.dead_letters import (
    Behind,
    DeadLetter,
    behind,
    count,
    failures,
    find,
    find_any,
    ids_beginning,
    list_parked,
    outline,
    park,
)
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState, Attempt, SetAside, set_aside

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


async def test_pages_follow_each_other_by_number(tx):
    await park(tx, [letter(position=str(number)) for number in range(5)])
    first = await find(tx, LetterQuery(), 2)
    second = await find(tx, LetterQuery(), 2, first[-1].number)
    third = await find(tx, LetterQuery(), 2, second[-1].number)
    assert [each.letter.position for each in (*first, *second, *third)] == ["0", "1", "2", "3", "4"]
    assert await find(tx, LetterQuery(), 2, third[-1].number) == []


async def test_those_that_failed_alike_are_counted_with_first_last_and_the_newest(tx):
    later = NOW + timedelta(hours=1)
    often = [letter(position=str(number), fingerprint="a", parked_at=(NOW, later)[number % 2]) for number in range(4)]
    once = letter(position="9", fingerprint="b", attempts=())
    await park(tx, [*often, once])
    a, b = await failures(tx)
    assert (a.count, a.first, a.last, a.example, a.error) == (4, NOW, later, often[3].id, "KeyError: 'o1'")
    assert (b.count, b.fingerprint, b.example, b.error) == (1, "b", once.id, "KeyError")
    assert await failures(tx, LetterQuery(fingerprint="b")) == [b]


class Going:
    """A transaction in which the newest letter goes once the failures have been counted."""

    def __init__(self, tx):
        self.tx, self.asked = tx, 0

    async def fetch(self, sql, *args, row=None):
        self.asked += 1
        if self.asked == 2:
            await self.tx.execute("delete from antiphon_set_aside where fingerprint = 'b'")
        return await self.tx.fetch(sql, *args, row=row)


async def test_a_failure_whose_letter_goes_while_it_is_looked_at_is_left_out(tx):
    await park(tx, [letter(fingerprint="a"), letter(FULL, fingerprint="b")])
    assert [each.fingerprint for each in await failures(Going(tx))] == ["a"]


async def test_failures_of_two_handlers_or_groups_are_two(tx):
    await park(tx, [letter(), letter(handler="capture"), letter(group="other")])
    assert {(each.group, each.handler, each.count) for each in await failures(tx)} == {
        ("payments", "authorise", 1),
        ("payments", "capture", 1),
        ("other", "authorise", 1),
    }


async def test_what_waits_behind_a_letter_is_counted_from_its_place_on(tx):
    head = letter(lane="o1", message=FULL)
    await park(tx, [head])
    waiting = [_behind(position=str(number), since=NOW + timedelta(hours=number)) for number in (3, 1, 2)]
    await set_aside(tx, waiting)
    assert await behind(tx, head) == Behind(3, NOW + timedelta(hours=1))
    assert await behind(tx, letter(position="8")) == Behind(0, None)


def _behind(position, since):
    return SetAside(
        message=PLAIN,
        topic="orders",
        partition=3,
        position=position,
        service="payments",
        group="payments",
        handler="authorise",
        lane="o1",
        state=AsideState.BEHIND,
        since=since,
    )


async def test_one_that_is_on_its_way_again_is_found_by_its_id_alone(tx):
    await set_aside(tx, [structs.replace(_behind("5", NOW), state=AsideState.DELAYED, lane=None, due_at=NOW)])
    assert await find(tx, LetterQuery(), 10) == []
    id = letter(position="5").id
    assert [(each.id, each.state) for each in await find_any(tx, [id])] == [(id, AsideState.DELAYED)]
    assert [each.id for each in await outline(tx, LetterQuery(ids=(id,)), 10)] == [id]
    assert await outline(tx, LetterQuery(), 10) == []


async def test_ids_are_found_by_their_beginnings(tx):
    letters = [letter(position=str(number)) for number in range(3)]
    await park(tx, letters)
    ids = sorted(each.id for each in letters)
    assert await ids_beginning(tx, ids[0][:13]) == ids[:2]
    assert await ids_beginning(tx, ids[1]) == [ids[1]]
    assert await ids_beginning(tx, "ffff") == []
