"""What is scheduled waits for its moment, in order, is claimed by one at a time, and can be taken back until then."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from antiphon.errors import EncodeError, SchemaError
from antiphon.events.message import Message, Outgoing
from antiphon.storage.schedule import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MOST_BYTES,
    Backlog,
    backlog,
    cancel,
    claim_due,
    count_scheduled,
    done,
    fail,
    find_scheduled,
    list_scheduled,
    next_due,
    put_off,
    schedule,
)

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
HOUR, HOLD = timedelta(hours=1), timedelta(seconds=30)
MOMENT = timedelta(microseconds=1)
FULL = Message(
    id="0197a3f0-0000-7000-8000-00000000aaaa",
    type="OrderPlaced",
    time=NOW,
    data=b"\xff\x00{",
    key="o1",
    source="payments",
    schema_version=3,
    content_type="application/avro",
    correlation_id="c",
    causation_id="m0",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate="x=1",
    deadline=NOW + 2 * HOUR,
    tenant="t",
    extensions={"tries": 3, "urgent": True, "note": "é"},
)


def one(number, key=None, topic="orders", **fields):
    id = f"0197a3f0-0000-7000-8000-{number:012}"
    return Outgoing(topic, Message(id, "OrderPlaced", NOW, b"{}", key, "payments", **fields))


def ids(found):
    return [int(each.id[-4:]) for each in found]


async def claim(tx, now, limit=100, token="mine"):
    return await claim_due(tx, now, limit, HOLD, token)


@pytest.mark.parametrize("message", [FULL, replace(FULL, data=None, key=None, content_type=None)], ids=["full", "bare"])
async def test_a_message_comes_back_whole_when_it_is_due(tx, message):
    await schedule(tx, [Outgoing("orders", message)], NOW + HOUR)
    (waiting,) = await list_scheduled(tx)
    assert waiting.message == message
    assert (waiting.id, waiting.topic, waiting.at) == (message.id, "orders", NOW + HOUR)
    assert (waiting.service, waiting.key, waiting.type) == ("payments", message.key, "OrderPlaced")
    (due,) = await claim(tx, NOW + HOUR)
    assert due.outgoing == Outgoing("orders", message)


async def test_nothing_is_claimed_before_its_moment(tx):
    await schedule(tx, [one(1)], NOW + HOUR)
    assert await claim(tx, NOW + HOUR - MOMENT) == []
    assert ids(await claim(tx, NOW + HOUR)) == [1]


async def test_scheduling_twice_is_once_and_the_first_moment_stays(tx):
    await schedule(tx, [one(1), one(1)], NOW + HOUR)
    await schedule(tx, [one(1)], NOW)
    assert [each.at for each in await list_scheduled(tx)] == [NOW + HOUR]


async def test_what_no_text_can_hold_is_refused(tx):
    with pytest.raises(EncodeError, match="cannot be kept until 2026"):
        await schedule(tx, [one(1, key="\ud800")], NOW)


async def test_they_are_listed_by_moment_then_by_order_of_scheduling_of_topic_and_service(tx):
    await schedule(tx, [one(1), one(2, topic="returns")], NOW + HOUR)
    await schedule(tx, [one(3), Outgoing("orders", replace(one(4).message, source="shop"))], NOW)
    assert ids(await list_scheduled(tx)) == [3, 4, 1, 2]
    assert ids(await list_scheduled(tx, limit=2)) == [3, 4]
    assert ids(await list_scheduled(tx, topic="orders")) == [3, 4, 1]
    assert ids(await list_scheduled(tx, service="shop")) == [4]
    assert await count_scheduled(tx) == 4
    assert await count_scheduled(tx, topic="orders", service="payments") == 2
    assert await find_scheduled(tx, one(9).message.id) is None
    assert await find_scheduled(tx, one(3).message.id) == (await list_scheduled(tx))[0]


async def test_they_are_claimed_by_moment_then_by_order_of_scheduling(tx):
    await schedule(tx, [one(3), one(1)], NOW + HOUR)
    await schedule(tx, [one(2)], NOW)
    await schedule(tx, [one(4)], NOW + HOUR)
    assert ids(await claim(tx, NOW + HOUR, limit=3)) == [2, 3, 1]
    assert ids(await claim(tx, NOW + HOUR, limit=3)) == [4]


async def test_what_is_claimed_at_once_is_bounded_in_bytes_and_one_always_goes(tx):
    big = Message("0197a3f0-0000-7000-8000-000000000001", "OrderPlaced", NOW, b"x" * MOST_BYTES, source="payments")
    await schedule(tx, [Outgoing("orders", big), one(2), one(3)], NOW)
    assert ids(await claim(tx, NOW)) == [1]
    assert ids(await claim(tx, NOW)) == [2, 3]


async def test_what_one_has_in_hand_nobody_else_gets_until_the_hold_is_over(tx):
    await schedule(tx, [one(1)], NOW)
    assert ids(await claim(tx, NOW)) == [1]
    assert await claim(tx, NOW + HOLD - MOMENT, token="theirs") == []
    assert ids(await claim(tx, NOW + HOLD, token="theirs")) == [1]


async def test_a_late_word_of_one_who_lost_it_changes_nothing(tx):
    await schedule(tx, [one(1)], NOW)
    (mine,) = await claim(tx, NOW)
    await claim(tx, NOW + HOLD, token="theirs")
    await done(tx, [mine.number], "mine")
    await fail(tx, {mine.number: "too large"}, "mine")
    await put_off(tx, [mine.number], "mine", NOW)
    (waiting,) = await list_scheduled(tx)
    assert waiting.is_publishing
    assert waiting.failure is None
    await done(tx, [mine.number], "theirs")
    assert await list_scheduled(tx) == []


async def test_nothing_overtakes_what_is_in_hand_of_its_key(tx):
    await schedule(tx, [one(1, "a"), one(2, "a"), one(3, "b"), one(4), one(5, "a", topic="returns")], NOW)
    (first,) = await claim(tx, NOW, limit=1)
    assert ids(await claim(tx, NOW, token="theirs")) == [3, 4, 5]
    await done(tx, [first.number], "mine")
    assert ids(await claim(tx, NOW, token="theirs")) == [2]


async def test_one_put_off_comes_again_after_a_growing_pause_and_those_of_its_key_wait_for_it(tx):
    await schedule(tx, [one(1, "a"), one(2, "a")], NOW)
    now, pause = NOW, FIRST_PAUSE
    for _ in range(10):
        first, second = await claim(tx, now)
        await put_off(tx, [first.number], "mine", now)
        await put_off(tx, [second.number], "mine", now - HOUR)
        assert await claim(tx, now + pause - MOMENT) == []
        assert await next_due(tx, now) == now + pause
        now += pause
        pause = min(pause * 2, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE
    assert ids(await claim(tx, now)) == [1, 2]


async def test_one_that_failed_is_kept_with_its_reason_and_in_nobodys_way(tx):
    await schedule(tx, [one(1, "a"), one(2, "a")], NOW)
    first, second = await claim(tx, NOW)
    await fail(tx, {first.number: "too large"}, "mine")
    await put_off(tx, [second.number], "mine", NOW)
    assert ids(await claim(tx, NOW + HOUR)) == [2]
    failed, _ = await list_scheduled(tx)
    assert (failed.failure, failed.is_publishing) == ("too large", False)
    assert await cancel(tx, [failed.id]) == [failed.id]


async def test_what_waits_can_be_taken_back_and_what_is_in_hand_cannot(tx):
    await schedule(tx, [one(1)], NOW)
    await schedule(tx, [one(2)], NOW + HOUR)
    await claim(tx, NOW)
    first, second = (one(number).message.id for number in (1, 2))
    assert await cancel(tx, [first, second, "nobody's"]) == [second]
    assert await cancel(tx, [second]) == []
    assert ids(await list_scheduled(tx)) == [1]


@pytest.mark.parametrize("word", ["none", "in doubt"])
async def test_what_may_have_been_published_cannot_be_taken_back_any_more(tx, word):
    """Neither after a crash, nor when a broker did not answer, nor when it refuses the same one later."""
    await schedule(tx, [one(1)], NOW)
    (due,) = await claim(tx, NOW, token="theirs")
    if word == "in doubt":
        await put_off(tx, [due.number], "theirs", NOW, is_doubtful=True)
    id = one(1).message.id
    assert await cancel(tx, [id]) == []
    await claim(tx, NOW + HOUR)
    await put_off(tx, [due.number], "mine", NOW + HOUR)
    assert await cancel(tx, [id]) == []
    assert (await find_scheduled(tx, id)).is_publishing


async def test_one_refused_for_now_can_still_be_taken_back(tx):
    await schedule(tx, [one(1)], NOW)
    (due,) = await claim(tx, NOW)
    await put_off(tx, [due.number], "mine", NOW)
    assert await cancel(tx, [due.id]) == [due.id]


async def test_the_next_moment_is_that_of_the_first_one_that_can_be_claimed(tx):
    assert await next_due(tx, NOW) is None
    await schedule(tx, [one(1, "a")], NOW + 2 * HOUR)
    assert await next_due(tx, NOW) == NOW + 2 * HOUR
    await schedule(tx, [one(2, "a")], NOW + HOUR)
    assert await next_due(tx, NOW) == NOW + HOUR
    now = NOW + 3 * HOUR
    assert await next_due(tx, now) == now
    (first,) = await claim(tx, now, limit=1)
    assert await next_due(tx, now) == now + HOLD
    await fail(tx, {first.number: "too large"}, "mine")
    assert await next_due(tx, now) == now


async def test_the_backlog_counts_what_waits_and_how_late_the_first_is(tx):
    assert await backlog(tx, NOW) == Backlog(0, timedelta())
    await schedule(tx, [one(1)], NOW + HOUR)
    await schedule(tx, [one(2), one(3)], NOW + 2 * HOUR)
    assert await backlog(tx, NOW) == Backlog(3, timedelta())
    assert await backlog(tx, NOW + 3 * HOUR) == Backlog(3, 2 * HOUR)
    (first,) = await claim(tx, NOW + HOUR)
    await fail(tx, {first.number: "too large"}, "mine")
    assert await backlog(tx, NOW + 3 * HOUR) == Backlog(2, HOUR)


async def test_one_that_cannot_be_read_fails_and_the_others_are_claimed(tx):
    await schedule(tx, [one(1), one(2)], NOW)
    await tx.execute("update antiphon_scheduled set message = '{' where id = ?", one(1).message.id)
    assert ids(await claim(tx, NOW)) == [2]
    broken = await find_scheduled(tx, one(1).message.id)
    assert "cannot be read" in broken.failure
    with pytest.raises(SchemaError, match="cannot be read"):
        _ = broken.message


async def test_nothing_is_scheduled_before_the_commit(database, tx):
    await schedule(tx, [one(1)], NOW)
    assert await count_scheduled(database) == 0
    await tx.commit()
    assert await count_scheduled(database) == 1


async def test_any_moment_of_the_calendar_can_be_kept(tx):
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    await schedule(tx, [one(1)], first)
    await schedule(tx, [one(2)], last)
    assert [each.at for each in await list_scheduled(tx)] == [first, last]
