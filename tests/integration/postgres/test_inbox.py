"""Marks keep on PostgreSQL what they promise on SQLite."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.events.ids import new_id
from tests.unit.storage.test_inbox import *  # noqa: F403
from tests.unit.storage.test_inbox import NOW, Inbox


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=8), max_size=5))
async def test_it_agrees_with_a_set(database, batches):
    inbox, seen = Inbox(new_id()), set()
    async with database.transaction() as tx:
        for ids in batches:
            expected = []
            for id in ids:
                expected.append(id not in seen)
                seen.add(id)
            assert await inbox.mark(tx, ids, NOW) == expected


class Overtaken:
    """A transaction beside which another one marks and commits, right after the first statement."""

    def __init__(self, tx, database):
        self._tx, self._database = tx, database
        self.statements = 0

    def __getattr__(self, name):
        return getattr(self._tx, name)

    async def fetch(self, sql, *args, row=None):
        found = await self._tx.fetch(sql, *args, row=row)
        self.statements += 1
        if self.statements == 1:
            async with self._database.transaction() as other:
                await Inbox("overtaken").mark(other, ["theirs"], NOW)
        return found


async def test_what_is_new_is_not_taken_for_handled_where_another_gave_the_consumer_its_number(database):
    async with database.transaction() as tx:
        assert await Inbox("overtaken").mark(Overtaken(tx, database), ["ours"], NOW) == [True]
