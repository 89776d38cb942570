"""Does the log end as it should, whatever its file, its callers and its event loop do?"""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.errors import ClosedError, UsageError
from antiphon.storage.sqlite import SqliteDatabase
from tests.integration.embedded.messages import a_batch

ROOM = 1 << 24
LONG = timedelta(seconds=5)


async def test_closing_a_subscription_frees_its_waiting_fetch(broker: EmbeddedBroker) -> None:
    subscription = await broker.subscribe("g", ["t"])
    waiting = asyncio.create_task(subscription.fetch(1, ROOM, LONG))
    await asyncio.sleep(0.02)
    await subscription.close()
    assert list(await asyncio.wait_for(waiting, 1)) == []


async def test_whoever_waits_to_write_is_told_when_the_broker_closes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told, not cancelled: a task that was not cancelled must not end as if it were."""
    monkeypatch.setattr("antiphon.brokers.embedded.group_commit._LONGEST_WAIT", 0.01)
    database = SqliteDatabase(path)
    await database.open()
    broker = EmbeddedBroker(database)
    await broker.open()
    async with database.transaction():
        publishing = asyncio.create_task(broker.publish(a_batch("t", 1)))
        await asyncio.sleep(0.01)
        await broker.close()
        with pytest.raises(ClosedError, match="confirm a write"):
            await publishing
    await database.close()


async def test_a_broker_whose_file_is_gone_can_be_closed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    await broker.subscribe("g", ["t"])
    await asyncio.to_thread(path.unlink)
    await broker.close()
    assert "group g was left without a word" in caplog.text
    with pytest.raises(ClosedError):
        await broker.database.fetch("select 1")


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_close_that_was_cancelled_is_completed_by_the_next(path: Path, turns: int) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    await broker.subscribe("g", ["t"])
    closing = asyncio.create_task(broker.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await broker.close()
    with pytest.raises(ClosedError):
        await broker.database.fetch("select 1")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("antiphon-store")] == []


async def test_a_broker_stays_in_the_event_loop_that_opened_it(broker: EmbeddedBroker) -> None:
    def elsewhere() -> None:
        for use in (broker.open, broker.topics, broker.close):
            with pytest.raises(UsageError, match="another event loop"):
                asyncio.run(use())

    await asyncio.to_thread(elsewhere)
    await broker.publish(a_batch("t", 1))


async def test_nothing_is_left_behind_beside_the_file(path: Path) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    await broker.subscribe("g", ["t"])
    await broker.close()
    left = os.listdir(f"{path}.members")  # noqa: PTH208
    assert set(left) <= {"retention"}
