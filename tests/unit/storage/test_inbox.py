"""A message is new once for each consumer, whatever comes twice."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.storage.inbox import Inbox
from antiphon.storage.sqlite import SqliteDatabase

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ALL = "select id from antiphon_inbox order by id"


@pytest.fixture
def inbox():
    return Inbox("payments")


async def test_what_was_marked_is_new_no_more(tx, inbox):
    assert await inbox.mark(tx, ["a", "b"], NOW) == [True, True]
    assert await inbox.mark(tx, ["b", "c", "a"], NOW) == [False, True, False]


async def test_the_same_id_twice_in_one_batch_is_new_once(tx, inbox):
    assert await inbox.mark(tx, ["a", "b", "a", "a"], NOW) == [True, True, False, False]


async def test_no_ids_are_no_marks(tx, inbox):
    assert await inbox.mark(tx, [], NOW) == []


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=8), max_size=5))
async def test_it_agrees_with_a_set(batches):
    database = SqliteDatabase(":memory:")
    await database.open()
    inbox, seen = Inbox("payments"), set()
    async with database.transaction() as tx:
        for ids in batches:
            expected = []
            for id in ids:
                expected.append(id not in seen)
                seen.add(id)
            assert await inbox.mark(tx, ids, NOW) == expected
    await database.close()


async def test_ids_that_differ_after_a_zero_character_are_two(tx, inbox):
    assert await inbox.mark(tx, ["a\0b", "a\0c", "a", "a\0b"], NOW) == [True, True, True, False]
    await inbox.forget(tx, ["a\0b"])
    assert await inbox.mark(tx, ["a\0c", "a", "a\0b"], NOW) == [False, False, True]


async def test_each_consumer_has_its_own(tx, inbox):
    await inbox.mark(tx, ["a"], NOW)
    assert await Inbox("shipping").mark(tx, ["a"], NOW) == [True]
    assert await Inbox("payments").mark(tx, ["a"], NOW) == [False]


async def test_marks_share_the_fate_of_the_transaction(database, tx, inbox):
    await inbox.mark(tx, ["a"], NOW)
    await tx.rollback()
    async with database.transaction() as other:
        assert await inbox.mark(other, ["a"], NOW) == [True]
    async with database.transaction() as other:
        assert await inbox.mark(other, ["a"], NOW) == [False]


async def test_a_forgotten_message_is_new_again(tx, inbox):
    await inbox.mark(tx, ["a", "b"], NOW)
    await inbox.forget(tx, ["a", "never marked"])
    assert await inbox.mark(tx, ["a", "b"], NOW) == [True, False]


async def test_a_batch_costs_one_statement(database, tx, inbox):
    await inbox.mark(tx, ["the consumer gets its number once"], NOW)
    before = database.counters.statements
    await inbox.mark(tx, [str(number) for number in range(500)], NOW)
    assert database.counters.statements - before == 1


async def test_in_a_new_generation_everything_is_new_for_every_process(tx, inbox):
    elsewhere = Inbox("payments")
    await inbox.mark(tx, ["a"], NOW)
    await inbox.begin_generation(tx)
    assert await elsewhere.mark(tx, ["a"], NOW) == [True]
    assert await inbox.mark(tx, ["a"], NOW) == [False]


async def expire_all(inbox, tx, before, limit):
    steps = 1
    while not await inbox.expire(tx, before, limit):
        steps += 1
    return steps


async def test_old_marks_expire_and_young_ones_stay(tx, inbox):
    await inbox.mark(tx, [f"{number:02}" for number in range(0, 40, 2)], NOW - DAY)
    young = [f"{number:02}" for number in range(1, 40, 2)]
    await inbox.mark(tx, young, NOW)
    await expire_all(inbox, tx, NOW - timedelta(hours=1), limit=7)
    assert await tx.fetch(ALL, row=str) == young


async def test_expiring_goes_in_bounded_steps(tx, inbox):
    await inbox.mark(tx, [f"{number:02}" for number in range(40)], NOW - DAY)
    assert not await inbox.expire(tx, NOW, 10)
    assert len(await tx.fetch(ALL)) == 30
    assert await expire_all(inbox, tx, NOW, limit=10) <= 4
    assert await tx.fetch(ALL) == []


async def test_marks_of_past_generations_go_whatever_their_age(tx, inbox):
    await inbox.mark(tx, ["a", "b", "c"], NOW)
    await inbox.begin_generation(tx)
    await inbox.mark(tx, ["c"], NOW)
    await expire_all(inbox, tx, NOW - DAY, limit=2)
    assert await tx.fetch(ALL, row=str) == ["c"]
    assert await inbox.mark(tx, ["a", "c"], NOW) == [True, False]


async def test_expiring_leaves_other_consumers_alone(tx, inbox):
    await Inbox("shipping").mark(tx, ["a"], NOW - DAY)
    await inbox.mark(tx, ["a"], NOW - DAY)
    await expire_all(inbox, tx, NOW, limit=10)
    assert await Inbox("shipping").mark(tx, ["a"], NOW) == [False]
