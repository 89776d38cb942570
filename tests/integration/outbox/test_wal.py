"""What is staged in PostgreSQL's log is published once committed, in order, and the server forgets it only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from antiphon import Service
from antiphon.errors import ConnectionLostError, UnsupportedCapabilityError
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.settings import load_settings
from antiphon.storage.dead_letters import find
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.storage.wal_outbox import WalOutbox, WalReader, slot_of
from antiphon.testing.servers import PostgresServer
from tests.integration.outbox.relaying import (
    Desk,
    require_a_service_emits_through,
    require_another_takes_over,
    until,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """With a slot, which would hold up the whole server if it stayed."""
    store = PostgresDatabase(postgres_url)
    await store.open()
    await WalOutbox().make(store)
    yield store
    slot = await slot_of(store)
    async with asyncio.timeout(20):
        while await store.fetch("select 1 from pg_replication_slots where slot_name = ? and active", slot):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await store.fetch("select pg_drop_replication_slot(?)", slot)
    await store.close()


@pytest.fixture
async def desk(store: PostgresDatabase) -> Desk:
    desk = Desk(store, WalOutbox())
    await desk.broker.open()
    return desk


def said(text: str, key: str | None = "one", type: str = "Said") -> Message:
    return Message(new_id(), type, NOON, text.encode(), key, "shop", correlation_id="story")


def texts(outgoing: Sequence[Outgoing]) -> list[str]:
    return [(each.message.data or b"").decode() for each in outgoing]


async def left(store: PostgresDatabase) -> list[str]:
    """What a new reader would be given."""
    staged, unreadable = await WalReader(store).next(WalOutbox.buckets, 1000)
    assert not unreadable
    return texts([each.outgoing for each in staged])


async def until_nothing_is_left(store: PostgresDatabase) -> None:
    """The server takes in what it was told in its own time."""

    async def is_empty() -> bool:
        return not await left(store)

    await until(is_empty)


async def test_what_was_staged_comes_out_whole_and_in_order_and_is_forgotten(
    store: PostgresDatabase, desk: Desk
) -> None:
    sent = [said(str(number)) for number in range(50)]
    for start in range(0, 50, 5):
        await desk.stage(*sent[start : start + 5])
    async with desk.relaying():
        assert await desk.until_published(50) == sent
    assert {each.topic for each in desk.published} == {"orders"}
    await until_nothing_is_left(store)


async def test_what_is_rolled_back_is_never_published(store: PostgresDatabase, desk: Desk) -> None:
    tx = await store.begin()
    await WalOutbox().stage(tx, [Outgoing("orders", said("never"))], NOON)
    await tx.rollback()
    tx = await store.begin()
    await tx.savepoint()
    await WalOutbox().stage(tx, [Outgoing("orders", said("undone"))], NOON)
    await tx.undo()
    await WalOutbox().stage(tx, [Outgoing("orders", said("kept"))], NOON)
    await tx.commit()
    assert await left(store) == ["kept"]


async def test_what_commits_late_is_not_skipped(store: PostgresDatabase, desk: Desk) -> None:
    slow = await store.begin()
    await WalOutbox().stage(slow, [Outgoing("orders", said("slow"))], NOON)
    async with desk.relaying():
        await desk.stage(said("fast"))
        await desk.until_published(1)
        await slow.commit()
        await desk.until_published(2)
    assert texts(desk.published) == ["fast", "slow"]


async def test_while_the_broker_is_gone_the_server_keeps_everything(store: PostgresDatabase, desk: Desk) -> None:
    async def fail(_: Sequence[Outgoing]) -> None:
        raise ConnectionLostError("it is gone")

    await desk.stage(said("a"), said("b"))
    async with desk.relaying(fail) as relay:
        await until(lambda: relay.status()["is_waiting"] is True)
    assert await left(store) == ["a", "b"]


async def test_a_reader_that_died_after_publishing_repeats_under_the_same_ids(
    store: PostgresDatabase, desk: Desk
) -> None:
    message = said("a")
    await desk.stage(message)
    first = WalReader(store)
    (staged,), _ = await first.next(WalOutbox.buckets, 10)
    async with store.transaction() as tx:
        await first.forget(tx, [staged.number])
    # It ends here, before the server was told.
    ((again,), _) = await WalReader(store).next(WalOutbox.buckets, 10)
    assert again == staged
    assert again.outgoing.message == message


async def test_what_is_finished_is_not_read_again_and_the_server_is_told(store: PostgresDatabase, desk: Desk) -> None:
    for text in "abc":
        await desk.stage(said(text), said(text * 2))
    reader = WalReader(store)
    staged, _ = await reader.next(WalOutbox.buckets, 100)
    numbers = [each.number for each in staged]
    async with store.transaction() as tx:
        await reader.forget(tx, [numbers[0], *numbers[2:4]])
    staged, _ = await reader.next(WalOutbox.buckets, 100)
    assert [each.number for each in staged] == [numbers[1], *numbers[4:]]
    assert (await reader.backlog(SystemClock().now())).messages == 3
    async with store.transaction() as tx:
        await reader.forget(tx, [numbers[1]])
    await reader.next(WalOutbox.buckets, 100)
    assert await left(store) == ["c", "cc"]


async def test_what_a_rolled_back_transaction_forgot_is_read_again(store: PostgresDatabase, desk: Desk) -> None:
    await desk.stage(said("a"))
    reader = WalReader(store)
    (staged,), _ = await reader.next(WalOutbox.buckets, 100)
    tx = await store.begin()
    await reader.forget(tx, [staged.number])
    await tx.rollback()
    assert await reader.next(WalOutbox.buckets, 100) == ([staged], [])


async def test_others_messages_in_the_log_are_not_ours_and_hold_up_nothing(store: PostgresDatabase, desk: Desk) -> None:
    async with store.transaction() as tx:
        await tx.fetch("select pg_logical_emit_message(true, 'somebody', 'else')")
    await desk.stage(said("ours"))
    async with desk.relaying() as relay:
        await desk.until_published(1)
        await until(lambda: relay.status()["published"] == 1)
    assert texts(desk.published) == ["ours"]
    assert await WalReader(store).is_empty()


async def test_a_log_without_messages_is_given_up(store: PostgresDatabase, desk: Desk) -> None:
    slot = await slot_of(store)
    behind = "select cast(pg_current_wal_flush_lsn() - confirmed_flush_lsn as bigint) from pg_replication_slots "
    async with store.transaction() as tx:
        await tx.execute("create table bulk as select repeat('x', 1000) as text from generate_series(1, 5000)")
    ((before,),) = await store.fetch(f"{behind} where slot_name = ?", slot, row=tuple[int])
    await WalReader(store).next(WalOutbox.buckets, 10)
    ((after,),) = await store.fetch(f"{behind} where slot_name = ?", slot, row=tuple[int])
    assert before > 4_000_000
    assert after < 1_000_000


async def test_what_the_broker_refuses_is_a_dead_letter_and_stops_its_key_only(
    store: PostgresDatabase, desk: Desk
) -> None:
    await desk.stage(said("1", "a", "Huge"), said("2", "a"), said("3", "b"))
    async with desk.relaying() as relay:
        await desk.until_published(1)
        await until(lambda: relay.status()["parked"] == 1)
    assert texts(desk.published) == ["3"]
    (stored,) = await find(store, LetterQuery(group=OUTBOX_GROUP), 10)
    assert stored.letter.message.data == b"1"
    await until_nothing_is_left(store)


async def test_another_relay_takes_over_when_one_leaves(store: PostgresDatabase, desk: Desk) -> None:
    async with desk.relaying() as second:
        async with desk.relaying():
            await desk.stage(said("a"))
            await desk.until_published(1)
        await desk.stage(said("b"))
        await desk.until_published(2)
        assert second.status()["buckets"] in (0, 1)
    assert texts(desk.published) == ["a", "b"]


async def test_what_is_no_message_is_kept_as_a_dead_letter(store: PostgresDatabase, desk: Desk) -> None:
    async with store.transaction() as tx:
        await tx.fetch("select pg_logical_emit_message(true, cast(? as text), 'nonsense')", await slot_of(store))
    async with desk.relaying() as relay:
        await until(lambda: relay.status()["parked"] == 1)
    await until_nothing_is_left(store)


async def test_a_relay_killed_between_publishing_and_telling_the_server_is_replaced_and_only_repeats(
    store: PostgresDatabase, postgres_url: str, tmp_path: Path
) -> None:
    await require_another_takes_over(store, postgres_url, "wal", tmp_path)
    await until_nothing_is_left(store)


async def test_a_service_may_emit_through_the_log(store: PostgresDatabase, tmp_path: Path) -> None:
    await require_a_service_emits_through(store, "wal", tmp_path)
    await until_nothing_is_left(store)


async def test_another_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    shop = Service("shop", broker="memory://", store=SqliteDatabase(str(tmp_path / "shop.db")), outbox="wal")
    with pytest.raises(UnsupportedCapabilityError, match="outbox='wal' is for PostgreSQL"):
        await shop.start(settings=load_settings({}, {}, tmp_path))


async def test_a_server_that_keeps_too_little_in_its_log_is_refused_with_what_to_do() -> None:
    with PostgresServer(settings=("wal_level=replica",)) as server:
        store = PostgresDatabase(f"{server.url}?schema=shop")
        await store.open()
        with pytest.raises(UnsupportedCapabilityError, match="needs wal_level = logical, and it is 'replica'"):
            await WalOutbox().make(store)
        await store.close()
