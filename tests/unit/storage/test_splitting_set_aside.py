"""What older versions had set aside is there, whole and in order, once its long parts have a table of their own."""

from datetime import timedelta

import pytest

from antiphon.events.message import Message
from antiphon.storage.dead_letters import RedriveState, find
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.migrations import own_migrations
from antiphon.storage.moments import moment
from antiphon.storage.set_aside import AsideState, Attempt, RetryStore, list_waiting
from tests.unit.storage.test_set_aside import NOW

SPLIT = next(migration.version for migration in own_migrations() if migration.name == "split_set_aside")
TABLES = (
    "select name from sqlite_schema where type = 'table' and name like 'antiphon_%' and name <> 'antiphon_migrations'"
)
WHOLE = """
insert into antiphon_set_aside (
    number, id, consumer_group, service, handler, topic, partition, position, lane, state, due_at, token, held_until,
    message_id, message_type, message, edited, attempts, reason, fingerprint, code_version, since, forgiven, redrive,
    redrive_state
) values (
    ?, 'id ' || ?1, 'payments', 'payments', 'authorise', 'orders', 3, '17', ?, ?, ?, ?, ?,
    'm1', 'OrderPlaced', ?, ?, ?, 'ValueError', 'abc', '1.2.3', ?, ?, ?, ?
)
"""
SECOND = timedelta(seconds=1)
ATTEMPTS = (
    '[{"time":"2026-03-01T12:30:15.123456Z","error":"ValueError","text":"no such order","traceback":"Traceback ..."}]'
)


def text_of(key: str) -> str:
    return f'{{"id":"m1","type":"OrderPlaced","time":"2026-03-01T12:30:15.123456Z","data":"e30=","key":"{key}"}}'


def a_whole_row(number, state, lane=None, token=None, edited=None, forgiven=0, redrive=None):
    held_until = 0 if token is None else moment(NOW + SECOND)
    values = (number, lane, state, moment(NOW), token, held_until, text_of("o1"), edited, ATTEMPTS, NOW.isoformat())
    return (*values, forgiven, redrive, RedriveState.FAILED if redrive else RedriveState.NONE)


@pytest.fixture
async def older(database):
    """A store as it was before, with nothing in it."""
    async with database.transaction() as tx:
        for (name,) in await tx.fetch(TABLES):
            await tx.execute(f"drop table {name}")
    await database.migrate("older", own_migrations()[: SPLIT - 1])
    return database


async def split(older, *rows):
    async with older.transaction() as tx:
        await tx.execute_many(WHOLE, rows)
    await older.migrate("older", own_migrations())


async def test_a_dead_letter_keeps_its_edit_its_attempts_and_the_redrive_in_which_it_failed(older):
    await split(older, a_whole_row(7, AsideState.PARKED, edited=text_of("o2"), redrive="r1"))
    (stored,) = await find(older, LetterQuery(text="no such order", key="o1"), 10)
    assert (stored.number, stored.id, stored.redrive, stored.redrive_state) == (7, "id 7", "r1", RedriveState.FAILED)
    assert stored.letter.attempts == (Attempt(NOW, "ValueError", "no such order", "Traceback ..."),)
    assert stored.letter.message == Message("m1", "OrderPlaced", NOW, b"{}", "o1")
    assert stored.current.key == "o2"


async def test_what_waits_is_the_same_and_its_claims_hold(older):
    held = a_whole_row(1, AsideState.DELAYED, lane="o1", token="theirs", forgiven=1)
    await split(older, held, a_whole_row(2, AsideState.BEHIND, lane="o1"), a_whole_row(3, AsideState.DELAYED))
    assert [item.state for item in await list_waiting(older)] == [0, 1, 0]
    ours = RetryStore("payments", "ours", SECOND)
    async with older.transaction() as tx:
        assert [one.number for one in await ours.claim(tx, NOW, 10)] == [3]
    async with older.transaction() as tx:
        late = await ours.claim(tx, NOW + 2 * SECOND, 10)
    assert [(one.number, one.forgiven, len(one.attempts)) for one in late] == [(1, 1, 1), (2, 0, 1)]


async def test_what_is_handled_leaves_nothing_behind_even_where_somebody_deletes_it_by_hand(older):
    await split(older, *[a_whole_row(number, AsideState.DELAYED) for number in (1, 2)])
    ours = RetryStore("payments", "ours", SECOND)
    async with older.transaction() as tx:
        await ours.claim(tx, NOW, 1)
        assert await ours.finish(tx, [1]) == [1]
        assert await tx.fetch("select item from antiphon_set_aside_bodies", row=int) == [2]
        await tx.execute("delete from antiphon_set_aside")
        assert await tx.fetch("select item from antiphon_set_aside_bodies", row=int) == []
