"""What is scheduled is published at its moment, in order, whichever way the broker allows and whoever else does it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import ConnectionLostError, PublishError, Refusal, UsageError
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.observability import names
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.due import HOLD, LeasedPublishing, TogetherPublishing, due_publishing
from antiphon.outbox.schedule import LOOK_EVERY, MEASURE_EVERY, ScheduledPublishing
from antiphon.runtime.sending import Sending
from antiphon.storage.database import Database, Transaction
from antiphon.storage.schedule import LONGEST_PAUSE, cancel, claim_due, count_scheduled, list_scheduled, schedule
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from antiphon.testing.stage import Stage

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
LIMIT = 100
"""Bytes that this broker takes at most."""


class Moody(Stage):
    """A broker that can be gone, or refuse some for now."""

    error: Callable[[], Exception] | None = None
    busy: Collection[str] = ()
    tries = 0

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        refusals = self._grumble(outgoing)
        await super().publish([one for one in outgoing if one.message.id not in self.busy])
        if refusals:
            raise PublishError(refusals)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        if refusals := self._grumble(outgoing):
            raise PublishError(refusals)
        await super().publish_in(tx, outgoing)

    def _grumble(self, outgoing: Sequence[Outgoing]) -> list[Refusal]:
        self.tries += 1
        if self.error is not None:
            raise self.error()
        ids = [one.message.id for one in outgoing if one.message.id in self.busy]
        return [Refusal("words", id, "busy", retryable=True) for id in ids]


class World:
    """A broker, a store, and those who publish what is due."""

    def __init__(self, store: Database | None) -> None:
        self.clock = VirtualClock()
        self.broker = Moody(MemoryBroker(clock=self.clock, max_message_bytes=LIMIT), self.clock)
        self.store = store or self.broker.database
        self.metrics = Metrics(service="shop")
        self.hooks = Hooks(self.metrics)
        self.sending = Sending("shop", self.broker, self.metrics, self.hooks)
        self.runners: list[ScheduledPublishing] = []

    async def run(self, count: int = 1) -> ScheduledPublishing:
        for _ in range(count):
            runner = ScheduledPublishing(self.broker, self.store, self.clock, self.metrics, self.sending)
            await runner.start()
            self.runners.append(runner)
        await self.clock.rest()
        return self.runners[-1]

    async def stop(self) -> None:
        for runner in self.runners:
            await runner.drain()

    async def schedule(self, delay: timedelta, *texts: str, key: str | None = None, is_told: bool = True) -> list[str]:
        at = self.clock.now() + delay
        made = [Message(new_id(), "Said", self.clock.now(), text.encode(), key, "shop") for text in texts]
        async with self.store.transaction() as tx:
            await schedule(tx, [Outgoing("words", message) for message in made], at)
        if is_told:
            for runner in self.runners:
                runner.ring(at)
        await self.clock.rest()
        return [message.id for message in made]

    @property
    def said(self) -> list[str]:
        return [(one.message.data or b"").decode() for one in self.broker.published]

    async def left(self) -> int:
        return await count_scheduled(self.store)


@pytest.fixture(params=["together", "leased"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = World(None if request.param == "together" else SqliteDatabase(":memory:"))
    await world.broker.open()
    await world.store.open()
    yield world
    await world.stop()
    await world.broker.close()
    await world.store.close()
    await world.broker.database.close()


def test_the_strongest_way_is_taken_that_broker_and_store_allow() -> None:
    clock, other = VirtualClock(), SqliteDatabase(":memory:")
    able, weak = MemoryBroker(), MemoryBroker(without=["store_transactions"])
    assert isinstance(due_publishing(able, able.database, clock), TogetherPublishing)
    assert isinstance(due_publishing(able, other, clock), LeasedPublishing)
    assert isinstance(due_publishing(weak, weak.database, clock), LeasedPublishing)


async def test_it_is_published_at_its_moment_and_then_forgotten(world: World) -> None:
    await world.run()
    await world.schedule(MINUTE, "hello")
    await world.clock.advance(MINUTE - timedelta(milliseconds=1))
    assert world.said == []
    await world.clock.advance(timedelta(milliseconds=1))
    assert (world.said, await world.left()) == (["hello"], 0)
    await world.clock.advance(MINUTE)
    assert world.said == ["hello"]


async def test_what_became_due_while_nobody_ran_is_published_at_the_start(world: World) -> None:
    await world.schedule(SECOND, "hello")
    await world.clock.advance(HOUR)
    await world.run()
    assert world.said == ["hello"]


async def test_what_is_due_at_once_waits_for_no_look(world: World) -> None:
    await world.run()
    await world.schedule(HOUR, "later")
    await world.schedule(timedelta(), "now")
    await world.schedule(-HOUR, "long ago")
    assert world.said == ["now", "long ago"]


async def test_they_go_by_moment_then_by_order_of_scheduling(world: World) -> None:
    await world.schedule(2 * SECOND, "c", "d", key="k")
    await world.schedule(SECOND, "a", "b", key="k")
    await world.schedule(2 * SECOND, "e", key="k")
    await world.clock.advance(MINUTE)
    await world.run()
    assert world.said == ["a", "b", "c", "d", "e"]


async def test_more_than_a_batch_is_published_to_the_end(world: World) -> None:
    texts = [str(number) for number in range(1200)]
    await world.schedule(SECOND, *texts, key="k")
    await world.run()
    await world.clock.advance(SECOND)
    assert (world.said, await world.left()) == (texts, 0)


async def test_many_at_once_publish_each_once_and_keep_the_order_of_keys(world: World) -> None:
    for number in range(600):
        await world.schedule(SECOND, f"k{number % 3} {number:03}", key=f"k{number % 3}")
    await world.run(count=3)
    await world.clock.advance(SECOND)
    assert len(world.said) == 600
    for key in ("k0", "k1", "k2"):
        of_key = [text for text in world.said if text.startswith(key)]
        assert of_key == sorted(of_key)
        assert len(of_key) == 200


async def test_what_another_process_scheduled_is_noticed_soon() -> None:
    world = World(SqliteDatabase(":memory:"))
    await world.broker.open()
    await world.store.open()
    await world.run()
    await world.schedule(timedelta(), "hello", is_told=False)
    assert world.said == []
    await world.clock.advance(LOOK_EVERY)
    assert world.said == ["hello"]
    await world.stop()


async def test_an_idle_second_costs_one_read() -> None:
    world = World(SqliteDatabase(":memory:"))
    await world.broker.open()
    await world.store.open()
    await world.run()
    await world.schedule(timedelta(), "now", is_told=True)
    await world.schedule(HOUR, "later")
    before, commits = world.store.counters.statements, world.store.counters.commits
    await world.clock.advance(100 * SECOND)
    measured = 100 * SECOND // MEASURE_EVERY
    assert world.store.counters.statements - before <= 100 + measured
    assert world.store.counters.commits == commits
    await world.stop()


async def test_one_refused_for_good_is_kept_with_its_reason_and_blocks_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run()
    await world.schedule(SECOND, "a", "x" * (LIMIT + 1), "b", key="k")
    await world.clock.advance(MINUTE)
    assert world.said == ["a", "b"]
    (failed,) = await list_scheduled(world.store)
    assert failed.failure == f"its data has {LIMIT + 1} bytes, the limit is {LIMIT}"
    assert f"scheduled message {failed.id} to 'words' is never published, but kept" in caplog.text
    assert world.metrics.total(names.PUBLISH_FAILURES) == 1
    assert world.runners[0].status() == {"published": 2, "failed": 1, "is_waiting_for_broker": False}


GONE: list[Callable[[], Exception]] = [lambda: ConnectionLostError("no broker"), lambda: KeyError("a defect")]


@pytest.mark.parametrize("error", GONE, ids=["known", "unknown"])
async def test_while_the_broker_is_gone_it_waits_longer_and_longer_and_says_so_seldom(
    world: World, error: Callable[[], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    await world.run()
    world.broker.error = error
    with caplog.at_level(logging.WARNING):
        await world.schedule(timedelta(), "a", "b", key="k")
        await world.clock.advance(MINUTE)
    assert 10 < world.broker.tries < 4 * (10 + MINUTE / LONGEST_PAUSE)
    assert 3 <= len(caplog.records) <= 4
    assert str(error()) in caplog.text
    world.broker.error = None
    await world.clock.advance(LONGEST_PAUSE)
    assert (world.said, await world.left()) == (["a", "b"], 0)
    assert not world.runners[0].status()["is_waiting_for_broker"]


async def test_scheduling_more_does_not_shorten_the_wait_for_a_broker_that_is_gone(world: World) -> None:
    await world.run()
    world.broker.error = lambda: ConnectionLostError("no broker")
    await world.schedule(timedelta(), "first")
    await world.clock.advance(MINUTE)
    tried = world.broker.tries
    for number in range(100):
        await world.schedule(timedelta(), str(number))
    assert world.broker.tries <= tried + 1
    world.broker.error = None
    await world.clock.advance(2 * LONGEST_PAUSE)
    assert len(world.said) == 101


async def test_a_ring_while_the_broker_fails_does_not_shorten_the_wait_either(world: World) -> None:
    runner = await world.run()

    def error() -> Exception:
        runner.ring(world.clock.now())
        return ConnectionLostError("no broker")

    world.broker.error = error
    await world.schedule(timedelta(), "first")
    await world.clock.advance(MINUTE)
    assert world.broker.tries < 10 + MINUTE / LONGEST_PAUSE


async def test_one_refused_for_now_is_tried_again_and_only_those_of_its_key_wait(world: World) -> None:
    await world.run()
    ids = await world.schedule(SECOND, "busy", "behind it", key="k")
    await world.schedule(SECOND, "other")
    world.broker.busy = ids[:1]
    await world.clock.advance(SECOND)
    assert world.said == ["behind it", "other"]


async def test_a_drain_leaves_the_rest_scheduled_and_twice_is_safe(world: World) -> None:
    runner = await world.run()
    await world.schedule(MINUTE, "later")
    await runner.drain()
    await runner.drain()
    await world.clock.advance(2 * MINUTE)
    assert (world.said, await world.left()) == ([], 1)
    assert runner.is_at_rest()


async def test_a_drain_does_not_wait_for_a_broker_that_is_gone(world: World) -> None:
    runner = await world.run()
    world.broker.error = lambda: ConnectionLostError("no broker")
    await world.schedule(timedelta(), "first")
    await runner.drain()
    assert await world.left() == 1


async def test_starting_twice_is_refused(world: World) -> None:
    runner = await world.run()
    with pytest.raises(UsageError, match="was started already"):
        await runner.start()


async def test_it_is_at_rest_until_something_is_due(world: World) -> None:
    runner = await world.run()
    assert runner.is_at_rest()
    runner.ring(world.clock.now())
    assert not runner.is_at_rest()
    await world.clock.rest()
    assert runner.is_at_rest()


async def test_what_is_published_is_counted_and_told(world: World) -> None:
    told = list[tuple[str, str, int]]()
    world.hooks.published.watch(lambda fact: told.append((fact.service, fact.topic, len(fact.messages))))
    await world.run()
    await world.schedule(SECOND, "a", "b")
    await world.clock.advance(SECOND)
    assert told == [("shop", "words", 2)]
    assert world.metrics.total(names.SENT) == 2


async def test_how_much_waits_and_how_late_it_is_can_be_measured(world: World) -> None:
    await world.run()
    world.broker.error = lambda: ConnectionLostError("no broker")
    await world.schedule(SECOND, "a")
    await world.schedule(HOUR, "b")
    await world.clock.advance(10 * SECOND + MEASURE_EVERY + LONGEST_PAUSE)
    assert world.metrics.total(names.SCHEDULED) == 2
    assert 9 <= world.metrics.total(names.SCHEDULED_LATE) <= 25


async def test_what_a_dead_process_had_in_hand_is_published_when_its_hold_is_over() -> None:
    """Under a lease nobody knows whether it was published: so it is again, with the same id."""
    world = World(SqliteDatabase(":memory:"))
    await world.broker.open()
    await world.store.open()
    (id,) = await world.schedule(timedelta(), "hello")
    async with world.store.transaction() as tx:
        await claim_due(tx, world.clock.now(), 10, HOLD, "dead")
    await world.run()
    async with world.store.transaction() as tx:
        assert await cancel(tx, [id]) == []
    await world.clock.advance(HOLD - SECOND)
    assert world.said == []
    await world.clock.advance(SECOND)
    assert [one.message.id for one in world.broker.published] == [id]
    await world.stop()


@pytest.mark.parametrize("error", GONE, ids=["known", "unknown"])
async def test_what_was_not_confirmed_cannot_be_taken_back_where_it_may_be_out(
    world: World, error: Callable[[], Exception]
) -> None:
    await world.run()
    world.broker.error = error
    (id,) = await world.schedule(timedelta(), "hello")
    async with world.store.transaction() as tx:
        is_certain = await cancel(tx, [id]) == [id]
    assert is_certain == (world.store is world.broker.database)


async def test_what_was_refused_for_now_can_still_be_taken_back(world: World) -> None:
    await world.run()
    (id,) = await world.schedule(SECOND, "hello")
    world.broker.busy = [id]
    await world.clock.advance(SECOND)
    assert world.broker.tries == 1
    async with world.store.transaction() as tx:
        assert await cancel(tx, [id]) == [id]
    world.broker.busy = ()
    await world.clock.advance(MINUTE)
    assert world.said == []
