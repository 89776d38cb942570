"""What a handler writes over its session, its mark and what it emits happen together, once, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from datetime import timedelta
from inspect import isawaitable
from typing import get_type_hints

import pytest

from antiphon import Publisher, Service
from antiphon.brokers.ports import Partition
from antiphon.errors import DeclarationError, TransactionEndedError, UsageError
from antiphon.runtime.dry_run import DryRunPlan
from antiphon.runtime.window import LOST
from antiphon.storage.connect import connect_store
from tests.integration.sessions import kinds
from tests.integration.sessions.conftest import WAYS, Shop, opened, until
from tests.integration.sessions.kinds import OrderPaid, OrderPlaced


async def test_writes_mark_and_event_are_there_once_it_is_handled(shop):
    await shop.place("1", "2", "3")
    assert await shop.entries() == shop.heard == Counter(["1", "2", "3"])
    assert await shop.marks() == 3


async def test_nothing_of_a_failed_attempt_stays_and_it_is_parked_as_its_policy_says(shop):
    await shop.place("bad", "1")
    assert await shop.entries() == shop.heard == Counter(["1"])
    assert await shop.marks() == 1
    parked = await shop.parked()
    assert parked["bad"].reason == "ValueError"
    assert len(parked["bad"].attempts) == 2


async def test_an_attempt_that_fails_once_is_made_again_in_a_new_session(shop):
    def fails_once(order_id):
        if len(shop.fault.calls) == 1:
            raise ConnectionError("once")

    shop.fault.does = fails_once
    await shop.place("1")
    assert shop.fault.calls == ["1", "1"]
    assert await shop.entries() == shop.heard == Counter(["1"])


async def test_a_handler_that_ends_the_transaction_itself_is_refused_and_emits_nothing(shop):
    tried = ("commit", "rollback", "close", "sql", "behind")
    await shop.place(*tried, "1")
    async with asyncio.timeout(20):
        while not (parked := await shop.parked()).keys() >= set(tried):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    entries = await shop.entries()
    assert shop.heard == Counter(["1"])
    assert await shop.marks() == 1, "a redrive must not be taken for a repetition"
    assert not entries.keys() & {"commit", "rollback", "close"}
    for one in tried:
        text = f"{parked[one].reason} {parked[one].attempts[-1].text}"
        assert TransactionEndedError.__name__ in text or "forbidden when an 'atomic' block" in text


async def test_beginning_what_is_begun_is_refused(shop):
    await shop.place("with", "1")
    assert list(await shop.parked()) == ["with"]
    assert await shop.entries() == shop.heard == Counter(["1"])


async def test_a_message_that_comes_twice_takes_effect_once(shop):
    outgoing = shop.payments._plan.composer.first(OrderPlaced("1"))
    await shop.broker.publish([outgoing, outgoing])
    await shop.settle()
    await shop.broker.publish([outgoing])
    await shop.settle()
    assert shop.fault.calls == ["1"]
    assert await shop.entries() == shop.heard == Counter(["1"])


async def test_a_late_result_after_a_lost_lease_is_rolled_back(shop):
    ended = asyncio.Event()
    loop, in_hand = asyncio.get_running_loop(), shop.payments._running.consumer._surroundings.settling.broker

    def lose(order_id):
        for number in range(8):
            for delivery in in_hand.waiting(Partition("orders", number)):
                delivery.state = LOST
        loop.call_soon_threadsafe(ended.set)

    shop.fault.does = lose
    await shop.payments.publish(OrderPlaced("late"))
    await ended.wait()
    await until(shop.payments._running.consumer.settled)
    assert shop.fault.calls == ["late"]
    assert await shop.entries() == shop.heard == Counter()
    assert await shop.marks() == 0


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] == "postgres"], indirect=True, ids="-".join)
async def test_a_connection_that_is_cut_costs_no_attempt_and_the_message_is_handled_again(shop):
    await shop.place("cut", "1")
    assert await shop.parked() == {}
    assert shop.fault.calls.count("cut") == 2
    assert await shop.entries() == shop.heard == Counter(["cut", "1"])


async def test_two_messages_with_one_business_key_take_effect_once(setup, ledger, tmp_path, broker, fault):
    shop = Shop(broker, ledger, setup, tmp_path, fault, once_by="order_id")
    async with opened(shop):
        await shop.place("1", "1", "2")
        assert await shop.entries() == shop.heard == Counter(["1", "2"])


@pytest.mark.parametrize("way", [way for way in WAYS if "awaited" not in way[1]], indirect=True, ids="-".join)
async def test_a_plain_function_that_outlasts_a_drain_has_no_effect(setup, ledger, tmp_path, broker, fault):
    shop = Shop(broker, ledger, setup, tmp_path, fault, drain="100ms")
    begun, go_on = threading.Event(), threading.Event()
    fault.does = lambda _: (begun.set(), go_on.wait(20))
    async with opened(shop):
        await shop.payments.publish(OrderPlaced("late"))
        assert await asyncio.to_thread(begun.wait, 20)
        stopping = asyncio.create_task(shop.payments.stop())
        await asyncio.wait({stopping}, timeout=0.5)
        go_on.set()
        await stopping
    store = connect_store(ledger)
    await store.open()
    await until(lambda: _is_free(store))
    assert await store.fetch("select order_id from ledger") == []
    await store.close()


@pytest.mark.parametrize("way", [way for way in WAYS if "awaited" not in way[1]], indirect=True, ids="-".join)
async def test_a_plain_function_that_nothing_ends_keeps_no_service_from_stopping(
    setup, ledger, tmp_path, broker, fault
):
    shop = Shop(broker, ledger, setup, tmp_path, fault, drain="200ms")
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    fault.does = lambda _: (begun.set(), go_on.wait(60), ended.set())
    async with opened(shop):
        await shop.payments.publish(OrderPlaced("late"))
        assert await asyncio.to_thread(begun.wait, 20)
        try:
            async with asyncio.timeout(5):
                await shop.payments.stop()
            assert not ended.is_set()
        finally:
            go_on.set()
    assert await asyncio.to_thread(ended.wait, 20)
    store = connect_store(ledger)
    await store.open()
    await until(lambda: _is_free(store))
    assert await store.fetch("select order_id from ledger") == []
    await store.close()


async def test_a_thread_that_is_left_behind_with_sqlites_connection_keeps_no_other_writer_waiting(
    tmp_path, broker, fault
):
    url = f"sqlite:///{tmp_path}/shop.db"
    store = connect_store(url)
    await store.open()
    async with store.transaction() as tx:
        await tx.execute(kinds.SQLITE_LEDGER)
    begun, go_on, refused = threading.Event(), threading.Event(), list[str]()

    def pay(order: OrderPlaced, connection: sqlite3.Connection) -> None:
        connection.execute(kinds.INSERT + "('early')")
        begun.set()
        go_on.wait(60)
        try:
            connection.execute(kinds.INSERT + "('late')")
        except sqlite3.ProgrammingError as error:
            refused.append(str(error))
        try:  # as a statement that was let in before, and runs only now
            sqlite3.Connection.execute(connection, kinds.INSERT + "('late')")
        except sqlite3.OperationalError as error:
            refused.append(str(error))

    shop = Shop(broker, store, kinds.Setup(pay), tmp_path, fault, drain="200ms")
    await shop.payments.start(settings=shop.settings)
    await shop.payments.publish(OrderPlaced("1"))
    assert await asyncio.to_thread(begun.wait, 20)
    try:
        async with asyncio.timeout(5):
            await shop.payments.stop()
            async with store.transaction() as tx:
                await tx.execute(kinds.INSERT + "('others')")
    finally:
        go_on.set()
    await until(lambda: _holds(refused[1:]))
    assert await store.fetch("select order_id from ledger", row=str) == ["others"]
    await store.close()


async def _holds(found):
    return bool(found)


async def _is_free(store):
    """Whether nobody writes any more."""
    async with store.transaction() as tx:
        await tx.execute("delete from ledger where id < 0")
    return True


async def test_many_at_once_are_each_handled_once(shop):
    orders = [f"o-{number}" for number in range(60)]
    await shop.place(*orders)
    assert await shop.entries() == shop.heard == Counter(orders)


async def test_a_middleware_is_around_it_and_the_session_stays_in_its_thread(setup, ledger, tmp_path, broker, fault):
    shop = Shop(broker, ledger, setup, tmp_path, fault)
    seen = []

    @shop.payments.use
    async def watch(delivery, call_next):
        result = await call_next()
        seen.append(type(result))
        return result

    async with opened(shop):
        await shop.place("1", "bad")
        assert await shop.entries() == shop.heard == Counter(["1"])
    assert seen == [OrderPaid]


async def test_a_dry_run_shows_what_it_emits_and_leaves_nothing(shop, setup):
    message = shop.payments._plan.composer.first(OrderPlaced("dry")).message
    found = await shop.payments.dry_run("orders", message, shop.payments.store, DryRunPlan())
    assert found.error is None
    assert [one.message.type for one in found.emits] == ["OrderPaid"]
    assert await shop.entries() == Counter()
    assert await shop.marks() == 0


async def test_the_description_says_that_it_is_effectively_once_and_why(shop):
    described = shop.payments.describe(settings=shop.settings).handlers[0]
    assert described.guarantee == "effectively_once"
    assert described.reason.startswith("what it writes over its session, its inbox mark and what it emits commit")
    assert described.mode == "session's transaction"


async def test_a_session_on_another_database_is_refused_at_the_start(way, setup, tmp_path, broker, fault, request):
    if setup.sessions == ():
        other = connect_store(f"sqlite:///{tmp_path}/other.db" if way[0] == "postgres" else "postgresql://h/d")
        with pytest.raises(DeclarationError, match="connections of another kind"):
            Shop(broker, other, setup, tmp_path, fault).payments.describe(settings=None)
        return
    shop = Shop(broker, f"sqlite:///{tmp_path}/other.db", setup, tmp_path, fault)
    with pytest.raises(UsageError, match=r"is on another database than the service's store, sqlite:.*other.db"):
        await shop.payments.start(settings=shop.settings)


@pytest.mark.parametrize("is_plain", [False, True])
async def test_a_session_on_a_file_without_our_tables_is_refused_as_another_database(tmp_path, broker, fault, is_plain):
    make = kinds.alchemy_plain if is_plain else kinds.alchemy_awaited
    setup = make(f"sqlite:///{tmp_path}/elsewhere.db", fault)
    shop = Shop(broker, f"sqlite:///{tmp_path}/other.db", setup, tmp_path, fault)
    with pytest.raises(UsageError, match=r"is on another database than the service's store, sqlite:.*other.db"):
        await shop.payments.start(settings=shop.settings)
    closed = setup.close()
    if isawaitable(closed):
        await closed


async def test_a_session_on_the_brokers_own_store_is_refused(setup, tmp_path, broker, fault):
    shop = Shop(broker, broker.database, setup, tmp_path, fault)
    if setup.sessions == () and "sqlite3" not in str(setup.handler.__annotations__):
        with pytest.raises(DeclarationError, match="connections of another kind"):
            shop.payments.describe()
    elif setup.sessions == ():
        assert shop.payments.describe().handlers[0].guarantee == "effectively_once"
    else:
        with pytest.raises(DeclarationError, match="the store of its service is the broker's own"):
            shop.payments.describe()


@pytest.mark.parametrize("way", [way for way in WAYS if "awaited" in way[1]], indirect=True, ids="-".join)
async def test_what_it_schedules_is_kept_in_its_transaction(shop, setup, ledger, broker):
    kind = get_type_hints(setup.handler, vars(kinds))
    namespace = {**vars(kinds), "Publisher": Publisher, "timedelta": timedelta}
    namespace["Kind"] = next(found for name, found in kind.items() if name not in ("order", "return"))
    exec(LATER, namespace)
    service = Service("later", broker=broker, store=ledger, sessions=setup.sessions)
    service.on(OrderPlaced, publishes=(OrderPaid,))(namespace["later"])
    await service.start(settings=shop.settings)
    try:
        await service.publish(OrderPlaced("1"))
        await until(service.caught_up)
        assert [each.message.key for each in await service.scheduled()] == ["1"]
    finally:
        await service.stop()


LATER = """
async def later(order: OrderPlaced, session: Kind, publisher: Publisher) -> None:
    await publisher.publish(OrderPaid(order.order_id), delay=timedelta(days=1))
"""
