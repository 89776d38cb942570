"""Whether a work may begin now; one that may not is where it belongs, and counts no attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import Partition
from antiphon.errors import NewerVersionError
from antiphon.resilience import RateLimit
from antiphon.runtime.admission import Admission
from antiphon.runtime.claims import LaneRun
from antiphon.runtime.gates import Gates
from antiphon.runtime.pauses import Pauses
from antiphon.runtime.window import FINISHED, LOST, RELEASED, WAITING
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.set_aside_items import START, a_claimed_work, a_work
from tests.unit.runtime.test_gates import Around

ZERO = Partition("orders", 0)
SECOND = timedelta(seconds=1)


class Source:
    """Knows the order of arrival."""

    def __init__(self) -> None:
        self.arrived = []

    def pause(self, partitions): ...

    def resume(self, partitions): ...

    def waiting(self, partition):
        return [work.delivery for work in self.arrived]


class Blocks:
    """Says which works go behind others."""

    def __init__(self) -> None:
        self.held = []

    def may_hold(self, delivery):
        return any(work.delivery is delivery for work in self.held)

    def holds(self, work):
        return work in self.held


class Asides:
    """Notes what is set aside."""

    def __init__(self) -> None:
        self.put_aside: list[tuple[object, object]] = []

    def behind(self, work):
        return "behind"

    def parked(self, work, attempts, reason, error):
        return "parked", tuple(attempts), reason

    def put(self, work, item):
        self.put_aside.append((work, item))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def asides() -> Asides:
    return Asides()


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


@pytest.fixture
def admission(clock, source, asides, blocks) -> Admission:
    pauses = Pauses(clock, source)
    gates = Gates(clock, pauses, Around())
    gates.declare(["orders"], {}, {"orders": RateLimit(messages=1, per=SECOND, burst=2)})
    return Admission(pauses, blocks, gates, asides, clock)


def arrive(source: Source, *keys: str):
    """Works in order of arrival."""
    works = [a_work(key) for key in keys]
    source.arrived += works
    return works


@pytest.mark.parametrize("state", [LOST, RELEASED, FINISHED])
def test_what_is_out_of_hand_does_not_begin(admission, asides, state):
    work = a_work()
    work.delivery.state = state
    assert not admission.admits(work)
    assert asides.put_aside == []


def test_nothing_begins_once_a_drain_began(admission):
    admission.draining = True
    assert not admission.admits(a_work())
    assert not admission.goes_on(a_work())


def test_what_follows_one_that_was_set_aside_goes_behind_it(admission, blocks, asides):
    work, other = a_work(), a_work("order-2")
    blocks.held = [work]
    assert admission.admitted([work, other]) == [other]
    assert asides.put_aside == [(work, "behind")]


def test_a_claimed_one_of_a_broken_run_goes_back(admission, blocks, asides):
    work, news = a_claimed_work(LaneRun(is_broken=True)), []
    admission.went_back = lambda: news.append(work)
    blocks.held = [work]
    assert not admission.admits(work)
    assert (work.delivery.state, news, asides.put_aside) == (RELEASED, [work], [])


def test_what_is_late_is_parked_with_the_attempts_made_at_it(admission, asides):
    late, in_time = a_work(deadline=START), a_work(deadline=START + SECOND)
    assert admission.admitted([late, in_time]) == [in_time]
    assert asides.put_aside == [(late, ("parked", (), "deadline"))]


def test_a_stopped_topic_holds_what_comes_and_what_follows_in_its_partition(admission, source):
    one, two, three, four = arrive(source, "a", "b", "c", "d")
    assert admission.admitted([one, two, three, four]) == [one, two]
    assert list(admission.held) == [ZERO]
    assert {work.delivery.state for work in (three, four)} == {WAITING}


def test_what_was_let_in_goes_on_although_others_of_its_partition_wait(admission, source):
    """Held, it would keep what it was given, and the others would never get it."""
    one, two, three = arrive(source, "a", "b", "c")
    assert admission.admitted([one, two, three]) == [one, two]
    assert admission.admitted([one, two, three]) == [one, two]


async def test_what_was_let_in_does_not_overtake_one_of_its_key_that_waits(admission, source):
    first, other, second = arrive(source, "a", "b", "a")
    assert admission.admitted([other, second]) == [other, second]
    assert not admission.admits(first)
    assert admission.admits(other)
    assert not admission.admits(second)
    assert not admission.gates.has_let_in(second)


async def test_what_was_let_in_waits_for_newer_code_with_its_partition(admission, source):
    one, two = arrive(source, "a", "b")
    assert admission.admitted([one, two]) == [one, two]
    admission.pauses.pause(one, NewerVersionError("m-1", "OrderPlaced", 2, 1))
    assert not admission.admits(two)
    assert not admission.gates.has_let_in(two)
    admission.pauses.stop()


def test_a_claimed_one_does_not_wait_with_the_partition_that_it_left(admission, source):
    (held,) = arrive(source, "a")
    admission.pauses.hold(held)
    assert admission.admits(a_claimed_work())
