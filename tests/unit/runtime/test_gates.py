"""Topics are stopped and go on: each time once, at the right moment, and what was in hand waits or goes back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest

from antiphon.brokers.ports import Delivery, Partition
from antiphon.resilience import Breaker, RateLimit
from antiphon.runtime.claims import Claim, LaneRun
from antiphon.runtime.gates import Gates
from antiphon.runtime.window import LOST, RELEASED, WAITING
from antiphon.runtime.work import Work
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import a_message

REST = timedelta(seconds=30)
BREAKER = Breaker(least=1, rest=REST, trials=1)


class Around:
    """Notes what it is told by gates."""

    def __init__(self) -> None:
        self.held: list[Work] = []
        self.told: list[tuple[object, ...]] = []

    def hold(self, work):
        self.held.append(work)

    def release(self, topic):
        self.told.append(("released", topic))

    def circuit_begins(self, topic):
        self.told.append(("begins", topic))

    def circuit_changed(self, topic, state, reason):
        self.told.append((topic, state.value))

    def waits_for_rate(self, topic):
        self.told.append(("rate", topic))

    def topic_paused(self, topic, paused):
        self.told.append(("paused", topic, paused))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def around() -> Around:
    return Around()


@pytest.fixture
async def gates(clock, around):
    gates = Gates(clock, around, around)
    gates.declare(["orders", "prices"], {"orders": BREAKER}, {"prices": RateLimit(messages=1, per=REST, burst=1)})
    gates.shut_topic = lambda topic: around.told.append(("shut", topic))
    gates.open_topic = lambda topic: around.told.append(("open", topic))
    gates.went_back = lambda: around.told.append(("went back",))
    around.told.clear()
    running = asyncio.create_task(gates.run())
    yield gates
    running.cancel()


def a_work(topic: str = "orders", handle: object = None) -> Work:
    return Work(Delivery(Partition(topic, 0), "0", a_message(), handle=handle), SimpleNamespace(name="take"))


def fail(gates: Gates, work: Work) -> None:
    gate = gates.of(work.delivery.partition.topic)
    gate.began(work.delivery, gate.generation)
    gate.failed(work.delivery, ConnectionError(), passing=True)
    gates.tell(gate)


async def test_what_comes_while_it_is_open_is_held_and_fetching_stops_once(gates, around):
    fail(gates, a_work())
    assert around.told == [("orders", "open")]
    some = [a_work() for _ in range(3)]
    assert not any(gates.admits(work) for work in some)
    assert around.held == some
    assert around.told == [("orders", "open"), ("shut", "orders")]
    assert gates.shut == ["orders"]
    assert gates.admits(a_work("payments"))


async def test_after_its_rest_it_goes_on_with_trials_and_a_success_closes_it(gates, around, clock):
    fail(gates, a_work())
    assert not gates.admits(a_work())
    await clock.advance(REST - timedelta(seconds=1))
    assert gates.shut == ["orders"]
    await clock.advance(timedelta(seconds=1))
    assert around.told[2:] == [("orders", "half_open"), ("released", "orders"), ("open", "orders")]
    trial, other = a_work(), a_work()
    assert gates.admits(trial)
    assert not gates.admits(other)
    gates.of("orders").succeeded(trial.delivery, 0.1)
    gates.tell(gates.of("orders"))
    await clock.rest()
    assert around.told[5:] == [("shut", "orders"), ("orders", "closed"), ("released", "orders"), ("open", "orders")]
    assert gates.special == {"prices"}


async def test_a_trial_that_is_lost_makes_room_for_another_one(gates, clock):
    fail(gates, a_work())
    await clock.advance(REST)
    lost = a_work()
    assert gates.admits(lost)
    assert not gates.admits(a_work())
    lost.delivery.state = LOST
    await clock.advance(timedelta(seconds=1))
    assert gates.shut == []
    assert gates.admits(a_work())


async def test_a_trial_that_was_handled_before_makes_room_for_another_one_at_once(gates, clock):
    fail(gates, a_work())
    await clock.advance(REST)
    repeated = a_work()
    assert gates.admits(repeated)
    assert not gates.admits(a_work())
    assert gates.shut == ["orders"]
    for _ in range(2):
        gates.needed_none(repeated)
    await clock.rest()
    assert gates.shut == []
    assert gates.admits(a_work())
    assert not gates.admits(a_work())


async def test_what_was_claimed_goes_back_instead_of_being_held(gates, around):
    fail(gates, a_work())
    claimed = a_work(handle=Claim(1, None, LaneRun()))
    assert not gates.admits(claimed)
    assert claimed.delivery.state == RELEASED
    assert around.held == []
    assert ("went back",) in around.told


async def test_what_is_held_gives_its_permit_up(gates, clock):
    fail(gates, a_work())
    await clock.advance(REST)
    trial = a_work()
    assert gates.admits(trial)
    assert gates.has_let_in(trial)
    gates.hold(trial)
    assert trial.delivery.state == WAITING
    assert not gates.has_let_in(trial)
    assert gates.admits(a_work())


async def test_a_rate_is_waited_for_and_counted_once(gates, around, clock):
    assert gates.admits(a_work("prices"))
    assert not gates.admits(a_work("prices"))
    assert not gates.admits(a_work("prices"))
    assert around.told == [("rate", "prices"), ("shut", "prices")]
    await clock.advance(REST)
    assert gates.shut == []
    assert around.told[2:] == [("released", "prices"), ("open", "prices")]
    assert gates.admits(a_work("prices"))


async def test_a_pause_holds_until_it_is_taken_back_and_twice_is_safe(gates, around, clock):
    for _ in range(2):
        gates.pause("orders", "a migration")
    work = a_work()
    assert not gates.admits(work)
    assert around.held == [work]
    await clock.advance(timedelta(days=1))
    assert gates.shut == ["orders"]
    for _ in range(2):
        gates.resume("orders")
    await clock.rest()
    assert gates.shut == []
    assert gates.admits(work)
    assert around.told.count(("shut", "orders")) == around.told.count(("open", "orders")) == 1


async def test_a_pause_outlasts_the_rest_of_a_breaker(gates, clock):
    fail(gates, a_work())
    gates.pause("orders", "an outage")
    assert not gates.admits(a_work())
    await clock.advance(2 * REST)
    assert gates.shut == ["orders"]
    gates.resume("orders")
    await clock.rest()
    assert gates.shut == []
