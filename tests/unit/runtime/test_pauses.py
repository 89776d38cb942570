"""What is newer than the code waits, with what follows it in its partition, and is tried again less and less often."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import NewerVersionError
from antiphon.runtime.pauses import FIRST_WAIT, LONGEST_WAIT, Pauses
from antiphon.runtime.work import Work
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import a_message

ZERO, ONE = Partition("orders", 0), Partition("orders", 1)
NEWER = NewerVersionError("m-1", "OrderPlaced", 2, 1)


class Source:
    """Notes what is paused; knows the order of arrival."""

    def __init__(self) -> None:
        self.paused: set[Partition] = set()
        self.arrived: list[Delivery] = []

    def pause(self, partitions):
        self.paused |= set(partitions)

    def resume(self, partitions):
        self.paused -= set(partitions)

    def waiting(self, partition):
        return [delivery for delivery in self.arrived if delivery.partition == partition]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def again() -> list[list[Work]]:
    return []


@pytest.fixture
def pauses(clock, source, again) -> Pauses:
    found = Pauses(clock, source)
    found.again = lambda works: again.append(list(works))
    return found


def a_work(source: Source, position: int, partition: Partition = ZERO) -> Work:
    delivery = Delivery(partition, str(position), a_message())
    source.arrived.append(delivery)
    return Work(delivery, None)


async def test_its_partition_is_paused_and_others_are_not(pauses, source):
    assert pauses.pause(a_work(source, 0), NEWER)
    assert source.paused == {ZERO}
    assert pauses.partitions() == (ZERO,)
    assert not pauses.hold_behind([a_work(source, 0, ONE)])
    pauses.stop()


async def test_what_follows_in_its_partition_is_held(pauses, source):
    first, second, other = a_work(source, 0), a_work(source, 1), a_work(source, 0, ONE)
    pauses.pause(first, NEWER)
    assert pauses.hold_behind([second])
    assert not pauses.hold_behind([other])
    assert not pauses.pause(second, NEWER)
    pauses.stop()


async def test_all_of_it_is_tried_again_in_order_of_arrival_and_then_the_flow_goes_on(pauses, source, clock, again):
    first, second, third = (a_work(source, n) for n in range(3))
    pauses.pause(second, NEWER)
    pauses.hold_behind([third])
    pauses.hold_behind([first])
    await clock.advance(FIRST_WAIT)
    assert again == [[first, second, third]]
    assert source.paused == set()
    assert len(pauses) == 0


async def test_nothing_is_tried_again_while_something_that_follows_is_still_in_a_lane(pauses, source, clock, again):
    newer, follower = a_work(source, 0), a_work(source, 1)
    pauses.pause(newer, NEWER)
    await clock.advance(LONGEST_WAIT)
    assert again == []
    assert pauses.hold_behind([follower])
    await clock.advance(FIRST_WAIT)
    assert again == [[newer, follower]]


async def test_it_waits_longer_each_time_up_to_a_limit(pauses, source, clock, again):
    work, delay, limit = a_work(source, 0), FIRST_WAIT, timedelta(hours=1)
    waits = []
    while sum(waits, timedelta()) < limit:
        pauses.pause(work, NEWER)
        before = clock.now()
        tries = len(again)
        while len(again) == tries:
            await clock.advance(timedelta(seconds=1))
        waits.append(clock.now() - before)
    assert waits[:4] == [FIRST_WAIT, FIRST_WAIT * 2, FIRST_WAIT * 4, FIRST_WAIT * 8]
    assert max(waits) == LONGEST_WAIT
    assert delay == FIRST_WAIT


async def test_what_went_to_another_owner_is_dropped(pauses, source, clock, again):
    pauses.pause(a_work(source, 0), NEWER)
    pauses.forget([ZERO, ONE])
    await clock.advance(LONGEST_WAIT)
    assert again == []
    assert len(pauses) == 0


async def test_what_is_held_with_its_topic_goes_on_in_order_once_that_is_released(pauses, source, clock, again):
    first, second = a_work(source, 0), a_work(source, 1)
    pauses.hold(first)
    assert pauses.hold_behind([second])
    await clock.advance(LONGEST_WAIT)
    pauses.release("payments")
    await clock.rest()
    assert again == []
    pauses.release("orders")
    pauses.release("orders")
    await clock.rest()
    assert again == [[first, second]]
    assert len(pauses) == 0


async def test_what_waits_for_newer_code_is_not_released_with_its_topic(pauses, source, clock, again):
    newer = a_work(source, 0)
    pauses.pause(newer, NEWER)
    pauses.release("orders")
    await clock.rest()
    assert again == []
    await clock.advance(FIRST_WAIT)
    assert again == [[newer]]


async def test_after_the_end_nothing_is_tried_again(pauses, source, clock, again):
    pauses.pause(a_work(source, 0), NEWER)
    pauses.stop()
    await clock.advance(LONGEST_WAIT)
    assert again == []
