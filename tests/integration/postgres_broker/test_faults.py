"""Whatever happens to the server or the road to it: nothing is lost, and it goes on by itself or says why not."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.ports import NoticeKind, Partition, SeekTo
from antiphon.brokers.postgres import PostgresBroker
from antiphon.brokers.postgres.subscription import PostgresSubscription
from antiphon.errors import (
    CommitUnknownError,
    PublishError,
    StoreAccessError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
    UnknownTopicError,
)
from antiphon.events.message import Outgoing
from antiphon.runtime.settings import load_settings
from antiphon.storage.dead_letters import list_parked
from antiphon.testing.conformance.suite import ROOM, a_message, ids, watermarks
from antiphon.testing.servers import PostgresServer
from tests.integration.postgres.cutting import road_to

TOPIC, GROUP = "orders", "payments"
SOON = timedelta(milliseconds=200)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


def paying(broker: PostgresBroker, mode: str = "shared") -> Service:
    payments = Service("payments", broker=broker)

    @payments.on(OrderPlaced, transaction="own" if mode == "own" else "shared")
    async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
        await tx.execute("insert into ledger (order_id) values (?)", order.order_id)
        return OrderPaid(order.order_id)

    return payments


@asynccontextmanager
async def opened(url: str, lease: timedelta = timedelta(seconds=10)) -> AsyncIterator[PostgresBroker]:
    broker = PostgresBroker(url, lease=lease)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def paid(broker: PostgresBroker, folder: Path, *services: Service) -> AsyncIterator[None]:
    """The services run in it, with a ledger."""
    async with broker.database.transaction() as tx:
        await tx.execute("create table ledger (order_id text)")
    for service in services:
        await service.start(settings=load_settings({}, {}, folder))
    try:
        yield
    finally:
        for service in services:
            await service.stop()


async def until(done: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await done():
                    return
            except StoreUnavailableError:
                pass
            await asyncio.sleep(0.02)


async def place(broker: PostgresBroker, numbers: range) -> None:
    await broker.publish(
        [Outgoing(TOPIC, a_message(f"o-{number}", b'{"order_id":"o-%d"}' % number)) for number in numbers]
    )


async def run(broker: PostgresBroker, statement: str) -> None:
    async with broker.database.transaction() as tx:
        await tx.execute(statement)


async def place_orders(service: Service, numbers: range) -> None:
    await service.publish_all([OrderPlaced(f"o-{number}") for number in numbers])


async def place_whatever_happens(service: Service, numbers: range) -> None:
    """Again and again, until the server says that it holds them; so some may be there twice."""
    while True:
        try:
            return await place_orders(service, numbers)
        except (StoreUnavailableError, CommitUnknownError):
            await asyncio.sleep(0.1)


async def assert_each_once(broker: PostgresBroker, count: int) -> None:
    rows = await broker.database.fetch("select order_id from ledger", row=str)
    assert Counter(rows) == {f"o-{number}": 1 for number in range(count)}
    told = await broker.browse("payments", SeekTo.START, 10_000)
    assert Counter(each.message.key for each in told) == Counter(rows)
    assert await list_parked(broker.database) == []


@pytest.mark.parametrize("mode", ["shared", "own"])
@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_server_that_goes_and_comes_again_costs_nothing(
    mortal: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, ending: str
) -> None:
    async with opened(f"{mortal.url}?schema=gone_{mode}_{ending}&patience=20s") as broker:
        service = paying(broker, mode)
        async with paid(broker, tmp_path, service):
            await place_orders(service, range(200))
            mortal.stop() if ending == "stop" else mortal.kill()
            with caplog.at_level(logging.WARNING):
                await asyncio.sleep(2)
            assert len(caplog.records) < 60
            with pytest.raises(StoreError):
                await place_orders(service, range(1))
            mortal.start()
            await place_orders(service, range(200, 300))
            await until(service.caught_up)
            await assert_each_once(broker, 300)


async def test_a_server_that_is_paused_for_longer_than_the_lease_costs_nobody_its_partitions(
    mortal: PostgresServer, tmp_path: Path
) -> None:
    lease = timedelta(seconds=1)
    async with (
        opened(f"{mortal.url}?schema=paused", lease) as broker,
        opened(f"{mortal.url}?schema=paused", lease) as other,
    ):
        members = [await each.subscribe(GROUP, [TOPIC]) for each in (broker, other)]
        owned = [await owns(member, 4) for member in members]
        sent = [a_message(f"o-{number}") for number in range(64)]
        await broker.publish([Outgoing(TOPIC, each) for each in sent])
        held = [await member.fetch(1000, ROOM, timedelta(seconds=5)) for member in members]
        mortal.pause()
        await asyncio.sleep(3)
        mortal.go_on()
        for member, deliveries in zip(members, held, strict=True):
            await member.commit(watermarks(deliveries))
        await asyncio.sleep(1)
        assert [notice for member in members for notice in member.notices()] == []
        assert sum(lag.messages for lag in await broker.lag(GROUP)) == 64 - sum(map(len, held))
        assert owned[0] | owned[1] == {Partition(TOPIC, number) for number in range(8)}


async def owns(member: PostgresSubscription, count: int) -> set[Partition]:
    """What it owns, once that is so much."""
    owned: set[Partition] = set()
    async with asyncio.timeout(20):
        while len(owned) != count:
            await member.fetch(1, ROOM, timedelta(milliseconds=50))
            for kind, partitions in member.notices():
                owned = owned | set(partitions) if kind is NoticeKind.ASSIGNED else owned - set(partitions)
    return owned


async def test_a_connection_that_is_cut_in_the_middle_of_a_batch_costs_nothing(
    postgres_url: str, tmp_path: Path
) -> None:
    port = int(re.search(r":(\d+)/", postgres_url)[1])  # type: ignore[index]
    async with road_to(port) as (road, start), opened(postgres_url.replace(f":{port}/", f":{start}/")) as broker:
        service = paying(broker)
        async with paid(broker, tmp_path, service):
            for number in range(20):
                await place_whatever_happens(service, range(number * 10, number * 10 + 10))
                await asyncio.sleep(0.03)
                if number % 3 == 0:
                    road.cut()
            await until(service.caught_up)
            rows = await broker.database.fetch("select order_id from ledger", row=str)
            assert set(rows) == {f"o-{number}" for number in range(200)}
            placed = await broker.browse(TOPIC, SeekTo.START, 10_000)
            assert len(rows) == len({each.message.id for each in placed})
            assert await list_parked(broker.database) == []


async def test_a_publish_whose_answer_is_lost_says_that_nobody_knows(postgres_url: str) -> None:
    port = int(re.search(r":(\d+)/", postgres_url)[1])  # type: ignore[index]
    async with road_to(port) as (road, start), opened(postgres_url.replace(f":{port}/", f":{start}/")) as broker:
        await broker.publish([Outgoing(TOPIC, a_message("a"))])
        await asyncio.sleep(0.1)  # until its hint is sent
        road.holding = True
        publishing = asyncio.create_task(broker.publish([Outgoing(TOPIC, a_message("a"))]))
        await road.held.wait()
        road.cut()
        with pytest.raises(CommitUnknownError):
            await publishing
        road.holding = False
        await broker.publish([Outgoing(TOPIC, a_message("a"))])
        assert [state.messages for state in await broker.topics()] == [3]


@pytest.mark.parametrize("way", ["emptied", "removed"])
async def test_a_wiped_log_is_reported_and_not_begun_anew(postgres_url: str, way: str) -> None:
    async with opened(postgres_url) as broker, opened(postgres_url) as other:
        subscription = await broker.subscribe(GROUP, [TOPIC])
        await broker.publish([Outgoing(TOPIC, a_message("a"))])
        await subscription.commit(watermarks(await subscription.fetch(10, ROOM, timedelta(seconds=5))))
        await wipe(other, way)
        with pytest.raises(StoreError) as fetching:
            await fetch_for(subscription, timedelta(seconds=10))
        with pytest.raises(StoreError):
            await broker.publish([Outgoing(TOPIC, a_message("a"))])
        if way == "removed":
            async with opened(postgres_url) as anew:
                await anew.publish([Outgoing(TOPIC, a_message("b"))])
                with pytest.raises(StoreCorruptError, match="not there any more"):
                    await subscription.fetch(10, ROOM, SOON)
                with pytest.raises(StoreCorruptError, match="not there any more"):
                    await broker.publish([Outgoing(TOPIC, a_message("b"))])
                assert [state.messages for state in await anew.topics()] == [1]
        else:
            assert isinstance(fetching.value, StoreCorruptError)
            with pytest.raises(StoreCorruptError, match="Restore them"):
                await PostgresBroker(postgres_url).open()


async def fetch_for(subscription: PostgresSubscription, duration: timedelta) -> None:
    async with asyncio.timeout(duration.total_seconds()):
        while True:
            await subscription.fetch(10, ROOM, SOON)


async def wipe(broker: PostgresBroker, way: str) -> None:
    tables = await broker.database.fetch(
        "select tablename from pg_tables where schemaname = current_schema() and tablename like 'antiphon_log%'",
        row=str,
    )
    async with broker.database.transaction() as tx:
        if way == "removed":
            await tx.execute(f"drop table {', '.join(tables)}")
            await tx.execute("delete from antiphon_migrations where component = 'log'")
        else:
            await tx.execute(f"truncate {', '.join(tables)}")


async def test_a_server_set_back_to_an_earlier_state_is_said_and_read_from_what_it_knows(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(postgres_url) as broker:
        subscription = await broker.subscribe(GROUP, [TOPIC])
        await broker.publish([Outgoing(TOPIC, a_message("a")) for _ in range(10)])
        first = await subscription.fetch(4, ROOM, timedelta(seconds=5))
        await subscription.commit(watermarks(first))
        await subscription.fetch(6, ROOM, timedelta(seconds=5))
        subscription.notices()
        async with broker.database.transaction() as tx:  # as a restore would leave it
            await tx.execute("delete from antiphon_log_messages where (place & 1099511627775) > 4")
            await tx.execute("update antiphon_log_heads set head = 4 where head > 0")
        await broker.publish([Outgoing(TOPIC, later := a_message("a"))])
        async with asyncio.timeout(10):
            found, lost = list[str](), list[NoticeKind]()
            while not found:
                found += ids(await subscription.fetch(10, ROOM, SOON))
                lost += [notice.kind for notice in subscription.notices()]
        assert found == [later.id]
        assert "set back to an earlier state" in caplog.text
        assert NoticeKind.LOST in lost


async def test_members_that_join_and_leave_every_moment_lose_nothing(postgres_url: str, tmp_path: Path) -> None:
    async with opened(postgres_url) as broker:
        service = paying(broker)
        async with paid(broker, tmp_path, service):

            async def come_and_go() -> None:
                async with opened(postgres_url) as another:
                    for _ in range(6):
                        member = paying(another)
                        await member.start(settings=load_settings({}, {}, tmp_path))
                        await asyncio.sleep(0.3)
                        await member.stop()

            coming = asyncio.create_task(come_and_go())
            placed = 0
            while not coming.done():
                await place_orders(service, range(placed, placed + 20))
                placed += 20
                await asyncio.sleep(0.02)
            await coming
            await until(service.caught_up)
            await assert_each_once(broker, placed)


async def test_a_handler_slower_than_the_lease_keeps_its_partition(postgres_url: str, tmp_path: Path) -> None:
    lease = timedelta(milliseconds=600)
    handled: list[str] = []
    async with opened(postgres_url, lease) as broker, opened(postgres_url, lease) as other:
        service, second = (Service("payments", broker=each) for each in (broker, other))
        for each in (service, second):

            @each.on(OrderPlaced)
            async def pay(order: OrderPlaced) -> None:
                await asyncio.sleep(2)
                handled.append(order.order_id)

        async with paid(broker, tmp_path, service):
            await place_orders(service, range(3))
            await second.start(settings=load_settings({}, {}, tmp_path))
            await until(service.caught_up)
            await second.stop()
    assert sorted(handled) == ["o-0", "o-1", "o-2"]


async def test_who_blocks_its_event_loop_for_longer_than_the_lease_commits_nothing(postgres_url: str) -> None:
    lease = timedelta(milliseconds=500)
    async with opened(postgres_url, lease) as broker, opened(postgres_url, lease) as other:
        stalled = await broker.subscribe(GROUP, [TOPIC])
        await broker.publish([Outgoing(TOPIC, a_message(f"k-{number}")) for number in range(32)])
        held = await stalled.fetch(100, ROOM, timedelta(seconds=5))
        broker._subscriptions.clear()  # so does it look from elsewhere
        active = await other.subscribe(GROUP, [TOPIC])
        taken: list[str] = []
        async with asyncio.timeout(10):
            while len(taken) < 32:
                taken += ids(await active.fetch(100, ROOM, SOON))
        await stalled.commit(watermarks(held))
        assert {notice.kind for notice in stalled.notices()} == {NoticeKind.ASSIGNED, NoticeKind.LOST}
        assert sum(lag.messages for lag in await other.lag(GROUP)) == 32


async def test_a_message_above_the_limit_is_refused_by_name(postgres_url: str) -> None:
    broker = PostgresBroker(postgres_url, max_message_bytes=1000)
    await broker.open()
    with pytest.raises(PublishError, match="1001 bytes, the limit is 1000"):
        await broker.publish([Outgoing(TOPIC, a_message("a", b"x" * 1001)), Outgoing(TOPIC, a_message("b"))])
    assert [state.messages for state in await broker.topics()] == [1]
    await broker.close()


async def test_an_unknown_topic_is_named_with_those_that_there_are(postgres_url: str) -> None:
    async with opened(postgres_url) as broker:
        await place(broker, range(1))
        for asked in (broker.browse("ordres", SeekTo.START, 1), broker.seek(GROUP, "ordres", SeekTo.END)):
            with pytest.raises(UnknownTopicError, match="'ordres' does not exist on this broker; it has orders"):
                await asked


async def test_topics_that_no_index_or_text_takes_are_refused_by_name(postgres_url: str) -> None:
    async with opened(postgres_url) as broker:
        for topic in ("x" * 5000, "zero\0"):
            with pytest.raises(PublishError, match="name of its topic"):
                await broker.publish([Outgoing(topic, a_message("a"))])


async def test_who_may_not_is_told_which_right_is_missing(postgres_url: str, postgres_server: str) -> None:
    async with opened(postgres_url) as broker:
        await place(broker, range(3))
        schema = broker.database.schema
        role = f"reader_{schema}"
        async with broker.database.transaction() as tx:
            await tx.execute(f"create role {role} login")
            await tx.execute(f"grant usage on schema {schema} to {role}")
            await tx.execute(f"grant select on all tables in schema {schema} to {role}")
        async with opened(postgres_url.replace("//postgres@", f"//{role}@")) as reader:
            assert len(await reader.browse(TOPIC, SeekTo.START, 10)) == 3
            with pytest.raises(StoreAccessError, match="permission denied"):
                await place(reader, range(1))
            with pytest.raises(StoreAccessError, match="permission denied"):
                await reader.subscribe(GROUP, [TOPIC])
    with pytest.raises(StoreAccessError):
        await PostgresBroker(postgres_server.replace("//postgres@", "//nobody_at_all@")).open()


async def test_a_lost_hint_costs_time_and_no_message(postgres_url: str) -> None:
    async with opened(postgres_url) as broker, opened(postgres_url) as other:
        subscription = await broker.subscribe(GROUP, [TOPIC])
        await subscription.fetch(1, ROOM, SOON)
        other._bell.announce = lambda: None  # type: ignore[method-assign]
        await other.publish([Outgoing(TOPIC, a_message("a"))])
        assert len(await subscription.fetch(1, ROOM, timedelta(seconds=5))) == 1
