"""Rows in Debezium's layout, whoever wrote them, are published and deleted; those that we write are what it expects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from antiphon import Service
from antiphon.errors import EncodeError, SettingsError
from antiphon.events.ids import new_id
from antiphon.events.message import Message
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import find
from antiphon.storage.debezium_outbox import DebeziumOutbox
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.outboxes import OutboxTable
from tests.integration.outbox.relaying import (
    Desk,
    require_a_service_emits_through,
    require_another_takes_over,
    until,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ID = "4d47e190-0402-4048-bc2c-89dd54343cdc"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROW = "insert into {} (id, aggregatetype, aggregateid, type, payload) values (?, ?, ?, ?, ?)"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Database]:
    store = connect_store(url)
    await store.open()
    yield store
    await store.close()


async def opened(store: Database, outbox: OutboxTable) -> Desk:
    await outbox.make(store)
    desk = Desk(store, outbox)
    await desk.broker.open()
    return desk


def placed(number: int, key: str | None = "one", type: str = "OrderPlaced") -> Message:
    data = json.dumps({"number": number}).encode()
    return Message(new_id(), type, NOON, data, key, "shop", 3, correlation_id="story", tenant="acme")


async def test_what_was_staged_comes_out_whole_and_in_order_and_is_deleted(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox())
    sent = [placed(number) for number in range(20)]
    await desk.stage(*sent)
    async with desk.relaying() as relay:
        await desk.until_published(20)
        await until(lambda: relay.status()["published"] == 20)
        assert await relay.is_at_rest()
    assert [(each.id, each.key, each.source, each.schema_version, each.tenant) for _, each in desk.published] == [
        (each.id, "one", "shop", 3, "acme") for each in sent
    ]
    assert [json.loads(each.data or b"") for _, each in desk.published] == [{"number": n} for n in range(20)]
    assert await store.fetch("select count(*) from outbox") == [(0,)]


async def test_what_we_write_is_what_the_event_router_reads(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox(topics="outbox.event.{aggregatetype}"))
    message = placed(1, key="o-1")
    await desk.stage(message, topic="outbox.event.Order")
    query = "select id, aggregatetype, aggregateid, type, payload from outbox"
    ((*row, payload),) = await store.fetch(query)
    assert row == [message.id, "Order", "o-1", "OrderPlaced"]
    assert isinstance(payload, str)
    assert json.loads(payload)["data"] == {"number": 1}
    assert json.loads(payload)["specversion"] == "1.0"


async def test_a_row_that_somebody_else_wrote_is_a_message_with_its_columns(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox("events", topics="outbox.event.{aggregatetype}"))
    async with store.transaction() as tx:
        await tx.execute(ROW.format("events"), ID, "Order", "7", "OrderCreated", '{"id": 7}')
        await tx.execute(ROW.format("events"), new_id(), "Order", "8", "OrderDeleted", None)
    async with desk.relaying():
        created, deleted = await desk.until_published(2)
    assert {topic for topic, _ in desk.published} == {"outbox.event.Order"}
    assert (created.id, created.type, created.key, created.source) == (ID, "OrderCreated", "7", "events")
    assert json.loads(created.data or b"") == {"id": 7}
    assert (deleted.key, deleted.data) == ("8", None)


async def test_a_table_of_somebody_elses_making_stays_as_it_is_and_is_read(store: Database) -> None:
    is_postgres = store.url.startswith("postgres")
    async with store.transaction() as tx:
        id, moment = ("uuid", "timestamptz") if is_postgres else ("text", "text")
        await tx.execute(
            f"create table outbox (id {id} not null, aggregatetype varchar(255) not null, aggregateid varchar(255) "
            f'not null, type varchar(255) not null, payload varchar(8000), "timestamp" {moment}, '
            "tracingspancontext varchar(256))"
        )
        for number in (2, 1):
            second = number if is_postgres else 1
            columns = (new_id(), str(number), f"2026-01-01 12:00:0{second}+00", f"#now\ntraceparent={TRACE}\n")
            await tx.execute("insert into outbox values (?, 'Order', 'one', 'Placed', ?, ?, ?)", *columns)
    desk = await opened(store, DebeziumOutbox())
    async with desk.relaying() as relay:
        await desk.until_published(2)
        await until(lambda: relay.status()["published"] == 2)
    # On PostgreSQL in the order of their moments, on SQLite in that of their rows.
    assert [each.data for _, each in desk.published] == ([b"1", b"2"] if is_postgres else [b"2", b"1"])
    assert [(each.time.year, each.traceparent) for _, each in desk.published] == [(2026, TRACE)] * 2
    assert await store.fetch("select count(*) from outbox") == [(0,)]


async def test_a_row_that_the_broker_refuses_is_a_dead_letter_and_stops_its_key_only(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox())
    await desk.stage(placed(1, "a", "Huge"), placed(2, "a"), placed(3, "b"))
    async with desk.relaying() as relay:
        await desk.until_published(1)
        await until(lambda: relay.status()["parked"] == 1)
        assert await relay.is_at_rest()
    assert [each.key for _, each in desk.published] == ["b"]
    (stored,) = await find(store, LetterQuery(group=OUTBOX_GROUP), 10)
    assert stored.letter.message.type == "Huge"


async def test_the_same_message_twice_is_one(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox())
    message = placed(1)
    await desk.stage(message, message)
    await desk.stage(message)
    assert await store.fetch("select count(*) from outbox") == [(1,)]


async def test_what_such_a_table_cannot_hold_is_refused(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox(topics="outbox.event.{aggregatetype}"))
    with pytest.raises(EncodeError, match=r"its topics are called 'outbox.event.\{aggregatetype\}'"):
        await desk.stage(placed(1), topic="orders")
    with pytest.raises(EncodeError, match="badly formed hexadecimal UUID"):
        await desk.stage(Message("one", "Said", NOON, b"{}"), topic="outbox.event.Order")


async def test_what_debezium_publishes_is_written_and_deleted_at_once_and_no_relay_runs(store: Database) -> None:
    outbox = DebeziumOutbox(published_by="debezium")
    desk = await opened(store, outbox)
    before = store.counters.statements
    await desk.stage(placed(1), placed(2))
    assert store.counters.statements - before >= 4
    assert await store.fetch("select count(*) from outbox") == [(0,)]
    shop = Service("shop", broker="memory://", store=store, outbox=outbox)
    assert not shop.describe().has_outbox


async def test_relays_of_several_outboxes_of_one_store_do_not_take_each_others_share(store: Database) -> None:
    first, second = await opened(store, DebeziumOutbox("one")), await opened(store, DebeziumOutbox("two"))
    own = Desk(store, None)
    async with own.relaying() as a, first.relaying() as b, second.relaying() as c, second.relaying() as d:
        assert [relay.status()["buckets"] for relay in (a, b, c, d)] == [64, 1, 1, 0]
        await first.stage(placed(1))
        await second.stage(placed(2))
        await first.until_published(1)
        await second.until_published(1)
    assert (len(first.published), len(second.published)) == (1, 1)


async def test_another_relay_goes_on_when_one_leaves(store: Database) -> None:
    desk = await opened(store, DebeziumOutbox())
    async with desk.relaying():
        async with desk.relaying():
            await desk.stage(placed(1))
            await desk.until_published(1)
        await desk.stage(placed(2))
        await desk.until_published(2)


async def test_a_relay_killed_between_publishing_and_deleting_is_replaced_and_its_rows_keep_their_ids(
    store: Database, url: str, tmp_path: Path
) -> None:
    await require_another_takes_over(store, url, "debezium", tmp_path)
    assert await store.fetch("select count(*) from outbox") == [(0,)]


async def test_a_service_may_emit_through_such_a_table(store: Database, tmp_path: Path) -> None:
    await require_a_service_emits_through(store, "debezium", tmp_path)
    assert await store.fetch("select count(*) from outbox") == [(0,)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "a..b"}, "is no name for a table"),
        ({"topics": "orders"}, "write {aggregatetype} in it once"),
        ({"published_by": "nobody"}, "one of 'relay', 'debezium'"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("{", r"\{")):
        DebeziumOutbox(**options)  # type: ignore[arg-type]  # that is the point
