"""Transactions commit in any order; does a reader see all of them, in order, whoever waits for whom?"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from antiphon.brokers.ports import SeekTo
from antiphon.brokers.postgres import PostgresBroker
from antiphon.errors import StoreError, TransactionConflictError, UsageError
from antiphon.events.message import Outgoing
from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.conformance.suite import ROOM, a_message, ids, watermarks

TOPIC, OTHER = "orders", "payments"


async def read(broker: PostgresBroker, count: int, *topics: str) -> list[str]:
    """What a group that reads along is given, until it has so many."""
    subscription = await broker.subscribe("along", topics or [TOPIC])
    read: list[str] = []
    async with asyncio.timeout(30):
        while len(read) < count:
            subscription.notices()
            deliveries = await subscription.fetch(1000, ROOM, timedelta(seconds=5))
            read += ids(deliveries)
            await subscription.commit(watermarks(deliveries))
    await subscription.close()
    return read


async def test_whoever_publishes_first_and_commits_last_is_not_passed_by_a_reader(broker: PostgresBroker) -> None:
    subscription = await broker.subscribe("along", [TOPIC])
    early, late = a_message("a"), a_message("a")
    slow, fast = await broker.database.begin(), await broker.database.begin()
    await broker.publish_in(slow, [Outgoing(TOPIC, late)])
    await broker.publish_in(fast, [Outgoing(TOPIC, early)])
    await fast.commit()
    first = await subscription.fetch(10, ROOM, timedelta(seconds=5))
    await subscription.commit(watermarks(first))
    await slow.commit()
    second = await subscription.fetch(10, ROOM, timedelta(seconds=5))
    assert ids([*first, *second]) == [early.id, late.id]


async def test_a_long_transaction_elsewhere_holds_up_no_reader(broker: PostgresBroker) -> None:
    long = await broker.database.begin()
    await long.execute("create table unrelated (id text)")
    await long.fetch("select pg_current_xact_id()")
    await broker.publish([Outgoing(TOPIC, message := a_message("a"))])
    assert await read(broker, 1) == [message.id]
    await long.rollback()


async def test_an_open_transaction_that_has_published_keeps_nobody_from_publishing(broker: PostgresBroker) -> None:
    open = await broker.database.begin()
    await broker.publish_in(open, [Outgoing(TOPIC, a_message("a"))])
    async with asyncio.timeout(5):
        await broker.publish([Outgoing(TOPIC, a_message("a"))])
    await open.rollback()


async def test_transactions_that_write_to_the_same_partitions_in_every_order_never_wait_in_a_circle(
    broker: PostgresBroker,
) -> None:
    """Each in several calls, with commits, rollbacks and undone parts among them."""
    kept: list[str] = []
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    writers = [random.Random(seed) for seed in range(8)]

    async def write(chance: random.Random, number: int) -> None:
        for _ in range(40):
            tx = await broker.database.begin()
            mine: list[tuple[str, str]] = []
            for _ in range(chance.randint(1, 4)):
                topic, key = chance.choice([TOPIC, OTHER]), f"{number}-{chance.randrange(30)}"
                message, is_undone = a_message(key), chance.random() < 0.2
                await tx.savepoint()
                await broker.publish_in(tx, [Outgoing(topic, message)])
                await (tx.undo() if is_undone else tx.release())
                mine += [] if is_undone else [(f"{topic} {key}", message.id)]
            if chance.random() < 0.2:
                await tx.rollback()
                continue
            await tx.commit()
            kept.extend(id for _, id in mine)
            for key, id in mine:
                by_key[key].append(id)

    reading = asyncio.create_task(read_until(broker, kept))
    await asyncio.gather(*(write(chance, number) for number, chance in enumerate(writers)))
    seen = await reading
    assert sorted(seen) == sorted(kept)
    place = {id: index for index, id in enumerate(seen)}
    for mine in by_key.values():
        assert mine == sorted(mine, key=place.__getitem__)
    assert sum(state.messages for state in await broker.topics()) == len(kept)


async def read_until(broker: PostgresBroker, kept: list[str]) -> list[str]:
    """What a reader was given, who reads while others write, until it has all and nothing more comes."""
    subscription = await broker.subscribe("along", [TOPIC, OTHER])
    seen: list[str] = []
    async with asyncio.timeout(60):
        while True:
            subscription.notices()
            deliveries = await subscription.fetch(1000, ROOM, timedelta(seconds=1))
            seen += ids(deliveries)
            await subscription.commit(watermarks(deliveries))
            if not deliveries and seen and len(seen) == len(kept):
                return seen


async def test_where_the_isolation_is_stricter_publishing_is_not_refused(postgres_url: str) -> None:
    broker = PostgresBroker(f"{postgres_url}&isolation=serializable")
    await broker.open()

    async def publish() -> None:
        for _ in range(20):
            await broker.publish([Outgoing(TOPIC, a_message(f"k-{key}")) for key in range(8)])

    await asyncio.gather(*(publish() for _ in range(4)))
    assert len(await read(broker, 640)) == 640
    await broker.close()


async def test_a_users_transaction_of_a_stricter_isolation_is_refused_as_a_whole_and_can_be_repeated(
    postgres_url: str,
) -> None:
    broker = PostgresBroker(f"{postgres_url}&isolation=repeatable-read")
    await broker.open()
    await broker.publish([Outgoing(TOPIC, a_message("a"))])
    tx = await broker.database.begin()
    await tx.fetch("select count(*) from antiphon_log_heads")
    await broker.publish([Outgoing(TOPIC, a_message("a"))])
    await broker.publish_in(tx, [Outgoing(TOPIC, a_message("a"))])
    with pytest.raises(TransactionConflictError):
        await tx.commit()
    assert [state.messages for state in await broker.topics()] == [2]
    async with broker.database.transaction() as again:
        await broker.publish_in(again, [Outgoing(TOPIC, a_message("a"))])
    assert [state.messages for state in await broker.topics()] == [3]
    await broker.close()


async def test_a_transaction_of_another_database_is_refused(broker: PostgresBroker, postgres_url: str) -> None:
    other = PostgresDatabase(f"{postgres_url}_other")
    await other.open()
    async with other.transaction() as tx:
        with pytest.raises(UsageError, match=r"broker\.database"):
            await broker.publish_in(tx, [Outgoing(TOPIC, a_message())])
    await other.close()


async def test_a_commit_that_fails_publishes_nothing_and_gives_its_connection_back(postgres_url: str) -> None:
    broker = PostgresBroker(f"{postgres_url}&connections=2&patience=2s")
    await broker.open()
    async with broker.database.transaction() as tx:
        await tx.execute("create table parent (id int primary key)")
        await tx.execute("create table child (id int references parent deferrable initially deferred)")
    for _ in range(5):
        tx = await broker.database.begin()
        await broker.publish_in(tx, [Outgoing(TOPIC, a_message("a"))])
        await tx.execute("insert into child values (1)")
        with pytest.raises(StoreError):
            await tx.commit()
    await broker.publish([Outgoing(TOPIC, message := a_message("a"))])
    (only,) = await broker.browse(TOPIC, SeekTo.START, 10)
    assert only.message.id == message.id
    await broker.close()


async def test_a_batch_of_more_than_the_server_takes_at_once_is_one_commit(
    broker: PostgresBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.brokers.postgres.appending._MOST_AT_ONCE", 1000)
    before = broker.database.counters.commits
    sent = [a_message(f"k-{number % 3}", b"x" * (number * 40)) for number in range(30)]
    sent += [a_message("k-0", None), a_message("k-1", b""), a_message()]
    await broker.publish([Outgoing(TOPIC, message) for message in sent])
    assert broker.database.counters.commits - before == 2  # one makes the topic
    found = await broker.browse(TOPIC, SeekTo.START, 100)
    assert {each.message.id: each.message.data for each in found} == {each.id: each.data for each in sent}
    for key in ("k-0", "k-1", "k-2"):
        assert [each.message.id for each in found if each.message.key == key] == [
            each.id for each in sent if each.key == key
        ]
    (state,) = await broker.topics()
    assert state.bytes == sum(len(each.data or b"") for each in sent)
