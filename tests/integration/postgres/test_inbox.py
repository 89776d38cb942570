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
