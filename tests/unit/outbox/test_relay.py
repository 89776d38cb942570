"""What was staged with a commit is published, in order by key and by one relay at a time, whatever fails meanwhile."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta

import msgspec
import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.deadletters.editing import edit, edited_message
from antiphon.errors import ConnectionLostError, PublishError, Refusal, StoreUnavailableError, UsageError
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.observability import names
from antiphon.observability.hooks import Hooks, Parked
from antiphon.observability.metrics import Metrics
from antiphon.outbox.leases import TTL, BucketLeases
from antiphon.outbox.relay import LONGEST_PAUSE, LONGEST_REST, MEASURE_EVERY, RETRY_EVERY, Relay
from antiphon.runtime.sending import Sending
from antiphon.storage.dead_letters import DeadLetter, find
from antiphon.storage.envelopes import encode_message
from antiphon.storage.letter_changes import Author
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.outbox import BUCKETS, OUTBOX_GROUP, bucket_of, outbox_backlog, stage
from antiphon.storage.runs import Process
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from antiphon.testing.stage import Stage

LIMIT = 100
"""Bytes that this broker takes at most."""
TOO_LONG = "x" * (LIMIT + 1)


class Moody(Stage):
    """A broker that can be gone, refuse some for now, or be slow."""

    error: Callable[[], Exception] | None = None
    busy: Collection[str] = ()
    delay = timedelta()
    tries = 0

    def __init__(self, broker: MemoryBroker, clock: VirtualClock) -> None:
        super().__init__(broker, clock)
        self.time = clock

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        self.tries += 1
        if self.error is not None:
            raise self.error()
        await self.time.sleep(self.delay)
        keys = {one.message.key for one in outgoing if (one.message.data or b"").decode() in self.busy}
        await super().publish([one for one in outgoing if one.message.key not in keys])
        held = [one.message.id for one in outgoing if one.message.key in keys]
        if held:
            raise PublishError([Refusal("words", id, "busy", retryable=True) for id in held])


class World:
    """A broker, a store beside it, and the relays between them."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = Moody(MemoryBroker(clock=self.clock, refuse=self.refuse), self.clock)
        self.limit = LIMIT
        self.store = SqliteDatabase(":memory:")
        self.metrics = Metrics(service="shop")
        self.hooks = Hooks(self.metrics)
        self.sending = Sending("shop", self.broker, self.metrics, self.hooks)
        self.relays: list[Relay] = []

    def refuse(self, outgoing: Outgoing) -> str | None:
        return f"more than {self.limit} bytes" if len(outgoing.message.data or b"") > self.limit else None

    async def run(self) -> Relay:
        relay = Relay(self.broker.publish, self.store, self.clock, self.metrics, self.sending)
        await relay.start()
        self.relays.append(relay)
        await self.clock.rest()
        return relay

    async def stop(self) -> None:
        for relay in self.relays:
            await relay.drain()

    async def stage(self, *texts: str, key: str | None = None, is_told: bool = True) -> list[Message]:
        now = self.clock.now()
        made = [Message(new_id(), "Said", now, text.encode(), key, "shop") for text in texts]
        async with self.store.transaction() as tx:
            await stage(tx, [Outgoing("words", message) for message in made], now)
        if is_told:
            for relay in self.relays:
                relay.ring()
        await self.clock.rest()
        return made

    @property
    def said(self) -> list[str]:
        return [(one.message.data or b"").decode() for one in self.broker.published]

    async def left(self) -> int:
        return (await outbox_backlog(self.store, self.clock.now())).messages

    async def letters(self) -> Sequence[DeadLetter]:
        return [stored.letter for stored in await find(self.store, LetterQuery(group=OUTBOX_GROUP), 100)]

    async def send_again(self) -> None:
        """As a redrive does, of everything that is parked."""
        async with self.store.transaction() as tx:
            await tx.execute("update antiphon_set_aside set state = 0, due_at = 0 where state = 2")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.broker.open()
    await world.store.open()
    yield world
    await world.stop()
    await world.broker.close()
    await world.store.close()


async def test_what_was_staged_before_it_started_is_published_in_order_and_forgotten(world: World) -> None:
    await world.stage("a", "b", "c", key="one")
    await world.run()
    assert (world.said, await world.left()) == (["a", "b", "c"], 0)


async def test_what_is_staged_meanwhile_is_published_at_once_where_it_is_told(world: World) -> None:
    await world.run()
    await world.stage("hello")
    assert world.said == ["hello"]


async def test_what_nobody_told_of_is_found_soon(world: World) -> None:
    await world.run()
    await world.clock.advance(timedelta(minutes=1))
    await world.stage("hello", is_told=False)
    await world.clock.advance(LONGEST_REST)
    assert world.said == ["hello"]


async def test_what_was_rolled_back_is_never_published(world: World) -> None:
    await world.run()
    tx = await world.store.begin()
    await stage(tx, [Outgoing("words", Message("m", "Said", world.clock.now(), b"never"))], world.clock.now())
    await tx.rollback()
    await world.clock.advance(LONGEST_REST)
    assert world.said == []


async def test_while_the_broker_is_gone_nothing_is_lost_and_little_is_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    relay = await world.run()
    world.broker.error = lambda: ConnectionLostError("it is gone")
    with caplog.at_level(logging.WARNING):
        await world.stage("a", "b", key="one")
        await world.clock.advance(timedelta(minutes=10))
    assert relay.status()["is_waiting"]
    assert 10 < world.broker.tries < 300
    assert 0 < len(caplog.records) < 30
    world.broker.error = None
    await world.clock.advance(LONGEST_PAUSE)
    assert (world.said, await world.left()) == (["a", "b"], 0)
    assert not relay.status()["is_waiting"]


async def test_what_is_refused_for_good_is_parked_and_stops_its_key_only(world: World) -> None:
    parked: list[Parked] = []
    world.hooks.parked.watch(parked.append)
    await world.run()
    await world.stage("a", TOO_LONG, "b", key="one")
    await world.stage("c", "d", key="two")
    await world.stage("e", key="one")
    assert (world.said, await world.left()) == (["a", "c", "d"], 0)
    (letter,) = await world.letters()
    assert (letter.message.data, letter.service, letter.reason) == (TOO_LONG.encode(), "shop", "refused")
    assert "100" in letter.attempts[-1].text
    assert [(each.handler, each.reason) for each in parked] == [("relay", "refused")]


async def test_what_waits_behind_it_follows_in_order_once_it_is_sent_again(world: World) -> None:
    await world.run()
    await world.stage(TOO_LONG, "b", "c", key="one")
    await world.stage("d", key="one")
    world.limit = 10 * LIMIT
    await world.send_again()
    await world.stage("e", key="one")
    await world.clock.advance(10 * RETRY_EVERY)
    assert world.said == [TOO_LONG, "b", "c", "d", "e"]
    assert await world.letters() == []
    await world.stage("f", key="one")
    assert world.said[-1] == "f"


async def test_what_is_refused_again_is_parked_again_with_both_attempts(world: World) -> None:
    await world.run()
    await world.stage(TOO_LONG, "b", key="one")
    await world.send_again()
    await world.clock.advance(3 * RETRY_EVERY)
    (letter,) = await world.letters()
    assert len(letter.attempts) == 2
    assert world.said == []


async def test_what_is_refused_for_now_is_tried_again_before_what_follows_it(world: World) -> None:
    await world.run()
    world.broker.busy = ["a"]
    await world.stage("a", "b", key="one")
    await world.stage("c", key="two")
    await world.clock.advance(timedelta(seconds=1))
    assert world.said == ["c"]
    world.broker.busy = ()
    await world.clock.advance(LONGEST_PAUSE)
    assert world.said == ["c", "a", "b"]


async def test_a_refusal_of_something_else_is_no_confirmation(world: World) -> None:
    await world.run()
    world.broker.error = lambda: PublishError([Refusal("words", "another", "too large", retryable=False)])
    await world.stage("a", key="one")
    await world.clock.advance(timedelta(seconds=1))
    assert (world.said, await world.left()) == ([], 1)
    world.broker.error = None
    await world.clock.advance(LONGEST_PAUSE)
    assert world.said == ["a"]


async def test_what_cannot_be_read_is_parked_as_it_is(world: World) -> None:
    await world.run()
    async with world.store.transaction() as tx:
        sql = "insert into antiphon_outbox (bucket, topic, key, message, staged_at) values (1, 'words', 'k', ?, 0)"
        await tx.execute(sql, "no message")
    await world.clock.advance(LONGEST_REST)
    (letter,) = await world.letters()
    assert (letter.message.data, letter.reason) == (b"no message", "unreadable")
    assert await world.left() == 0


async def test_a_row_that_cannot_be_read_is_published_once_it_was_mended_and_not_before(world: World) -> None:
    await world.run()
    async with world.store.transaction() as tx:
        sql = "insert into antiphon_outbox (bucket, topic, key, message, staged_at) values (1, 'words', 'k', ?, 0)"
        await tx.execute(sql, "no message")
    await world.clock.advance(LONGEST_REST)
    await world.send_again()
    await world.clock.advance(2 * RETRY_EVERY)
    assert world.said == []
    (stored,) = await find(world.store, LetterQuery(group=OUTBOX_GROUP), 100)
    assert len(stored.letter.attempts) == 2
    row = encode_message(Message(new_id(), "Said", world.clock.now(), b"hello", "k", "shop"))
    author = Author("ada", world.clock.now())
    await edit(world.store, stored, edited_message(stored, row.encode(), None), author)
    await world.send_again()
    await world.clock.advance(2 * RETRY_EVERY)
    assert (world.said, world.broker.published[0].message.type) == (["hello"], "Said")
    assert await world.letters() == []


async def test_a_store_that_fails_before_it_forgets_repeats_under_the_same_ids(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.run()
    begin = world.store.begin

    async def fail():
        monkeypatch.setattr(world.store, "begin", begin)
        raise StoreUnavailableError("the disk is away")

    monkeypatch.setattr(world.store, "begin", fail)
    now = world.clock.now()
    made = [Outgoing("words", Message(new_id(), "Said", now, text, "one", "shop")) for text in (b"a", b"b")]
    tx = await begin()
    await stage(tx, made, now)
    await tx.commit()
    world.relays[0].ring()
    await world.clock.advance(LONGEST_PAUSE)
    assert world.said == ["a", "b", "a", "b"]
    assert len({one.message.id for one in world.broker.published}) == 2
    assert await world.left() == 0


async def test_relays_share_the_buckets_and_publish_each_message_once(world: World) -> None:
    relays = [await world.run() for _ in range(3)]
    await world.clock.advance(3 * TTL)
    assert sorted(len(relay._leases.owned) for relay in relays) == [21, 21, 22]
    for number in range(20):
        await world.stage(f"{number}", f"{number}'", key=f"key-{number}")
    await world.clock.advance(LONGEST_REST)
    assert sorted(world.said) == sorted(text for n in range(20) for text in (f"{n}", f"{n}'"))


async def test_a_bucket_in_work_is_not_given_up_before_it_is_published(world: World) -> None:
    world.broker.delay = 2 * TTL
    await world.run()
    for number in range(20):
        await world.stage(f"{number}", key=f"key-{number}")
    await world.run()
    await world.clock.advance(10 * TTL)
    assert sorted(world.said) == sorted(map(str, range(20)))


async def test_what_one_relay_leaves_the_others_have_at_once(world: World) -> None:
    first, second = await world.run(), await world.run()
    await world.clock.advance(3 * TTL)
    await first.drain()
    await world.clock.advance(TTL / 3)
    assert len(second._leases.owned) == BUCKETS
    await world.stage("hello")
    assert world.said == ["hello"]


async def test_what_a_dead_relay_held_is_taken_over_when_its_leases_end(world: World) -> None:
    dead = await world.run()
    await world.run()
    await world.clock.advance(3 * TTL)
    for task in dead._tasks:
        task.cancel()
    for number in range(20):
        await world.stage(f"{number}", key=f"key-{number}")
    await world.clock.advance(timedelta(seconds=1))
    assert 0 < len(world.said) < 20
    await world.clock.advance(2 * TTL)
    assert sorted(world.said) == sorted(map(str, range(20)))


async def test_a_relay_whose_process_is_gone_on_this_machine_is_replaced_at_once(world: World) -> None:
    gone = msgspec.json.encode(msgspec.structs.replace(Process.own(), began="never")).decode()
    dead = BucketLeases(world.store, world.clock)
    dead._table.token = f"dead {gone}"
    await dead.keep_up()
    assert len(dead.owned) == BUCKETS
    await world.run()
    await world.stage("hello")
    assert world.said == ["hello"]


async def test_who_slept_past_its_leases_publishes_nothing_and_parks_nothing(world: World) -> None:
    sleeper = await world.run()
    for task in sleeper._tasks[:-2]:  # it renews nothing any more
        task.cancel()
    await world.run()
    world.broker.delay = 2 * TTL
    (message,) = await world.stage(TOO_LONG, key="one")
    world.relays = world.relays[1:]
    await world.clock.advance(5 * TTL)
    world.broker.delay = timedelta()
    await world.clock.advance(5 * TTL)
    assert [letter.message.id for letter in await world.letters()] == [message.id]
    await world.stage("later", key="two")
    sleeper.ring()
    await world.clock.advance(LONGEST_REST)
    assert world.said == ["later"]


async def test_a_drain_publishes_what_is_there(world: World) -> None:
    relay = await world.run()
    await world.stage(*map(str, range(5)), is_told=False)
    await relay.drain()
    assert await world.left() == 0
    await relay.drain()


async def test_a_relay_starts_once(world: World) -> None:
    relay = await world.run()
    with pytest.raises(UsageError, match="was started already"):
        await relay.start()


async def test_it_says_how_much_waits_and_for_how_long(world: World) -> None:
    await world.run()
    world.broker.error = lambda: ConnectionLostError("it is gone")
    await world.stage("a", "b")
    await world.clock.advance(timedelta(minutes=2))
    age = world.metrics.gauge(names.OUTBOX_AGE).value
    assert timedelta(minutes=2) - 2 * MEASURE_EVERY <= timedelta(seconds=age) <= timedelta(minutes=2)
    assert world.metrics.gauge(names.OUTBOX).value == 2


def test_messages_of_one_key_share_a_bucket_and_those_without_are_spread() -> None:
    now = VirtualClock().now()
    keyed = {bucket_of(Message(new_id(), "Said", now, b"", "one")) for _ in range(50)}
    keyless = {bucket_of(Message(new_id(), "Said", now, b"")) for _ in range(1000)}
    assert len(keyed) == 1
    assert len(keyless) > BUCKETS / 2
