"""What is set aside and not given up can be looked at, and when the next of it is due."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from antiphon.events.message import Message
from antiphon.storage.redrives import Release, release_letters
from antiphon.storage.set_aside import (
    AsideState,
    Attempt,
    RetryStore,
    SetAside,
    counts,
    list_waiting,
    next_moment,
    set_aside,
)

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def an_item(id: str, state: AsideState = AsideState.DELAYED, **fields: object) -> SetAside:
    message = Message(id, "OrderPlaced", NOW, b'{"order_id": "o1"}', "o1")
    attempts = (Attempt(NOW, "ValueError", "no such order", "Traceback ..."),)
    item = SetAside(
        message=message,
        topic="orders",
        partition=3,
        position="17",
        service="payments",
        group="payments",
        handler="authorise",
        lane=None,
        state=state,
        since=NOW,
        due_at=NOW + SECOND if state is AsideState.DELAYED else None,
        attempts=attempts,
        code_version="1.2.3",
    )
    return replace(item, **fields)


async def test_what_waits_comes_back_whole_in_the_order_in_which_it_was_set_aside(tx):
    first, second = an_item("m1", lane="o1"), an_item("m2", AsideState.BEHIND, lane="o1", attempts=())
    third = an_item("m3", due_at=NOW)
    await set_aside(tx, [first, second, an_item("m0", AsideState.PARKED), third])
    assert await list_waiting(tx) == [first, second, third]
    assert await list_waiting(tx, limit=2) == [first, second]


async def test_what_waits_can_be_looked_at_for_one_group(tx):
    ours, theirs = an_item("m1"), an_item("m1", group="mailing", service="mailing")
    await set_aside(tx, [ours, theirs])
    assert await list_waiting(tx, "payments") == [ours]
    assert await list_waiting(tx) == [ours, theirs]


async def test_what_waits_behind_a_parked_one_waits_too_and_that_does_not(tx):
    parked, follower = an_item("m1", AsideState.PARKED, lane="o1"), an_item("m2", lane="o1", attempts=())
    await set_aside(tx, [parked, follower])
    assert await list_waiting(tx) == [replace(follower, state=AsideState.BEHIND, due_at=None)]


async def test_the_next_moment_is_the_first_after_the_one_given_at_which_anything_is_due(tx):
    assert await next_moment(tx, NOW) is None
    await set_aside(tx, [an_item(f"m{n}", due_at=NOW + n * SECOND) for n in (3, 1, 2)])
    await set_aside(tx, [an_item("m0", AsideState.PARKED), an_item("m9", group="mailing", due_at=NOW + SECOND / 2)])
    assert await next_moment(tx, NOW) == NOW + SECOND / 2
    assert await next_moment(tx, NOW + SECOND) == NOW + 2 * SECOND
    assert await next_moment(tx, NOW + 3 * SECOND) is None


async def test_what_waits_is_as_its_handler_will_be_given_it(tx):
    await set_aside(tx, [an_item("m1")])
    await tx.execute("update antiphon_set_aside_bodies set edited = replace(message, 'o1', 'o2')")
    (item,) = await list_waiting(tx)
    (claimed,) = await RetryStore("payments", "me", SECOND).claim(tx, NOW + SECOND, 10)
    assert item.message == claimed.message
    assert item.message.key == "o2"


async def test_what_is_behind_one_that_is_not_due_yet_is_not_claimed_with_what_is_before_it(tx):
    first, second, third = (an_item(f"m{n}", lane="o1", position=str(n), due_at=NOW) for n in range(3))
    await set_aside(tx, [first, second, third])
    await tx.execute("update antiphon_set_aside set state = 0, due_at = due_at + 3600000000 where message_id = 'm1'")
    claimed = await RetryStore("payments", "here", SECOND).claim(tx, NOW + SECOND, 10)
    assert [one.message.id for one in claimed] == ["m0"]


async def test_every_attempt_counts_no_more_once_it_was_sent_again_also_those_after_it_was_set_aside_first(tx):
    store, first = RetryStore("payments", "me", SECOND), an_item("m1", AsideState.PARKED)
    await set_aside(tx, [first])
    for times in (1, 2, 3):
        await release_letters(tx, f"r{times}", [Release(1, NOW)])
        (claimed,) = await store.claim(tx, NOW, 10)
        assert (claimed.forgiven, len(claimed.attempts)) == (times, times)
        await store.again(tx, 1, replace(first, attempts=first.attempts * (times + 1)))


async def test_of_what_was_claimed_behind_another_the_first_is_due_once_that_is_handled(tx):
    ours, theirs = RetryStore("payments", "ours", SECOND), RetryStore("payments", "theirs", SECOND)
    await set_aside(tx, [an_item(f"m{n}", lane="o1", position=str(n), due_at=NOW) for n in range(3)])
    first, *behind = await ours.claim(tx, NOW, 10)
    assert await ours.finish(tx, [first.number]) == [first.number]
    await ours.promote(tx, [("orders", "o1")], NOW)
    await ours.release(tx, [one.number for one in behind])
    assert await counts(tx, "payments") == {AsideState.DELAYED: 1, AsideState.BEHIND: 1, AsideState.PARKED: 0}
    assert [one.message.id for one in await theirs.claim(tx, NOW, 10)] == ["m1", "m2"]
    assert await counts(tx, "payments") == {AsideState.DELAYED: 1, AsideState.BEHIND: 1, AsideState.PARKED: 0}
