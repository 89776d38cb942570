"""Each field of a question narrows what is found, by itself and together with the others."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from antiphon.events.message import Message
from antiphon.storage.dead_letters import DeadLetter, count_fitting, find, outline, park
from antiphon.storage.letter_query import LetterQuery, compiled
from antiphon.storage.set_aside import Attempt

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(number, *, key=None, tenant=None, error="ValueError", text="no such order", **fields):
    message = Message(f"m-{number}", fields.pop("type", "OrderPlaced"), NOON, b"{}", key, tenant=tenant)
    values = {
        "topic": "orders",
        "partition": 0,
        "position": str(number),
        "service": "payments",
        "handler": "authorise",
        "attempts": (Attempt(NOON, "KeyError", "first"), Attempt(NOON, error, text, "Traceback: secret place")),
        "reason": error,
        "fingerprint": "aaa",
        "code_version": "1",
        "parked_at": NOON,
    }
    return DeadLetter(message=message, **(values | fields))


ODD = letter(
    1,
    type="OrderLost",
    key="o-1",
    tenant="eu",
    error="LostError",
    text='100% of "it" is gone\\',
    topic="returns",
    group="mail",
    handler="tell",
    fingerprint="bbb",
    parked_at=NOON + timedelta(seconds=1),
)
ORDINARY = letter(2, key="o-2", lane="o-2")
LATER = NOON + timedelta(microseconds=1)


@pytest.mark.parametrize(
    "query",
    [
        LetterQuery(ids=(ODD.id, "nobody")),
        LetterQuery(group="mail"),
        LetterQuery(handler="tell"),
        LetterQuery(topic="returns"),
        LetterQuery(key="o-1"),
        LetterQuery(type="OrderLost"),
        LetterQuery(reason="LostError"),
        LetterQuery(fingerprint="bbb"),
        LetterQuery(message="m-1"),
        LetterQuery(tenant="eu"),
        LetterQuery(since=LATER),
        LetterQuery(since=LATER.astimezone(timezone(timedelta(hours=5)))),
        LetterQuery(text="LOSTerror: 100%"),
        LetterQuery(text='of "it" is gone\\'),
        LetterQuery(group="mail", handler="tell", key="o-1", since=NOON, until=NOON + timedelta(hours=1)),
    ],
    ids=lambda query: ",".join(name for name in query.__struct_fields__ if getattr(query, name) not in (None, ())),
)
async def test_only_what_fits_is_found_counted_and_outlined(tx, query):
    await park(tx, [ORDINARY, ODD, letter(3)])
    assert [each.letter for each in await find(tx, query, 10)] == [ODD]
    assert [each.id for each in await outline(tx, query, 10)] == [ODD.id]
    assert await count_fitting(tx, query) == 1


@pytest.mark.parametrize(
    "query",
    [
        LetterQuery(key="o-1", group="payments"),
        LetterQuery(text="secret place"),
        LetterQuery(text="1_0"),
        LetterQuery(until=NOON),
        LetterQuery(since=NOON + timedelta(seconds=2)),
        LetterQuery(tenant=""),
    ],
    ids=[
        "two that never meet",
        "a traceback is no text",
        "nothing is a wildcard",
        "until",
        "since",
        "empty is not none",
    ],
)
async def test_what_does_not_fit_is_not_found(tx, query):
    await park(tx, [ORDINARY, ODD])
    assert await find(tx, query, 10) == []
    assert await count_fitting(tx, query) == 0


async def test_a_key_is_found_whether_or_not_its_order_is_kept(tx):
    await park(tx, [ORDINARY, ODD])
    assert [each.letter for each in await find(tx, LetterQuery(key="o-2"), 10)] == [ORDINARY]


@pytest.mark.parametrize("hostile", ["' or 1=1 --", "%", "/* fitting */", "?"])
async def test_values_are_bound_and_never_part_of_the_statement(tx, hostile):
    await park(tx, [ORDINARY])
    names = ("group", "handler", "topic", "key", "type", "reason", "fingerprint", "message", "tenant", "text")
    for name in names:
        query, tame = (LetterQuery(**{name: value}) for value in (hostile, "tame"))
        assert await find(tx, query, 10) == []
        statement = "select 1 where true /* fitting */"
        assert compiled(statement, query).sql == compiled(statement, tame).sql


def test_nothing_asked_is_an_open_question():
    assert LetterQuery().is_open
    assert not LetterQuery(group="g").is_open
