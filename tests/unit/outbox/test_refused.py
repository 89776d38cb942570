"""What follows a refused message of its key waits behind it, whatever was asked of the store at the same moment."""

import asyncio
from datetime import UTC, datetime

import pytest

from antiphon.errors import PublishError, Refusal
from antiphon.events.message import Message, Outgoing
from antiphon.outbox.refused import Refused
from antiphon.storage.outbox import Staged, bucket_of
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Slow:
    """A store that says what it read only when it is let."""

    def __init__(self, store):
        self._store = store
        self.has_read, self.may_tell = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def fetch(self, sql, *args, row=None):
        found = await self._store.fetch(sql, *args, row=row)
        self.has_read.set()
        await self.may_tell.wait()
        return found


@pytest.fixture
async def store():
    store = SqliteDatabase(":memory:")
    await store.open()
    yield store
    await store.close()


def staged(number: int) -> Staged:
    message = Message(f"m-{number}", "Word", NOW, b"{}", "a key")
    return Staged(number, bucket_of(message), Outgoing("words", message))


async def keep_the_first(refused: Refused, tx) -> None:
    await refused.keep(tx, [(staged(1), "too large", PublishError([Refusal("words", "m-1", "too large")]))], [])


async def test_an_answer_from_before_what_was_parked_meanwhile_is_not_believed(store):
    slow = Slow(store)
    refused = Refused(slow, VirtualClock())
    looking = asyncio.create_task(refused.look())
    await slow.has_read.wait()
    async with store.transaction() as tx:
        await keep_the_first(refused, tx)
    slow.may_tell.set()
    await looking
    assert await refused.sort([staged(2)]) == ([], [staged(2)])


async def test_who_looks_before_it_is_committed_does_not_forget_it(store):
    refused = Refused(store, VirtualClock())
    tx = await store.begin()
    await keep_the_first(refused, tx)
    refused._is_any = False  # as a look leaves it that begins and ends in here, where reading does not wait for writing
    await tx.commit()
    assert await refused.sort([staged(2)]) == ([], [staged(2)])


async def test_where_nothing_is_blocked_nobody_is_asked(store):
    refused = Refused(store, VirtualClock())
    await refused.look()
    before = store.counters.statements
    assert await refused.sort([staged(2)]) == ([staged(2)], [])
    assert store.counters.statements == before
