"""Which lanes are known to be blocked: never one too few, whatever is on its way while the store is asked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.capabilities import Capabilities
from antiphon.brokers.places import offset_of
from antiphon.runtime.blocks import MOST_KNOWN, Blocks
from antiphon.runtime.claims import LaneRun
from antiphon.storage.set_aside import ParkedHead
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.set_aside_items import a_claimed_work, a_work

LOG = Capabilities(model="log", durable=True, key_order=True)
ORDERED_QUEUE = Capabilities(model="queue", durable=True, key_order=True)
LANE, OTHER = ("orders", "order-1"), ("orders", "order-2")


class Store:
    """Says what it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.lanes: list[tuple[str, str]] = []
        self.parked: dict[tuple[str, str], tuple[int, str]] = {}
        self.asked: list[object] = []
        self.meanwhile = lambda: None

    async def blocked(self, database, limit):
        found = self.lanes[:limit]
        self.asked.append("all")
        self.meanwhile()
        return found

    async def parked_heads(self, database, lanes):
        self.asked.append(("heads", frozenset(lanes)))
        return [ParkedHead(*lane, *self.parked[lane]) for lane in lanes if lane in self.parked]

    async def blocked_among(self, database, lanes):
        self.asked.append(set(lanes))
        return [lane for lane in self.lanes if lane in lanes]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def blocks(store, clock) -> Blocks:
    return Blocks(store, None, clock, LOG)


@pytest.fixture
def ordering(store, clock) -> Blocks:
    """As on a log, which can compare positions."""
    return Blocks(store, None, clock, LOG, lambda one, other: int(one) < int(other))


async def look(blocks: Blocks, *works) -> None:
    await blocks.look([work.delivery for work in works or (a_work(),)])


async def test_what_the_store_holds_of_a_lane_blocks_it_and_no_other(blocks, store):
    store.lanes = [LANE]
    assert not blocks.any
    await look(blocks)
    assert blocks.any
    assert blocks.holds(a_work("order-1"))
    assert not blocks.holds(a_work("order-2"))
    assert not blocks.holds(a_work("order-1", topic="payments"))


@pytest.mark.parametrize("work", [a_work(None), a_work(ordered=False)], ids=["no key", "order given up"])
async def test_what_has_no_order_to_keep_is_in_no_lane(blocks, store, work):
    store.lanes = [LANE]
    await look(blocks)
    assert blocks.lane_of(work) is None
    assert not blocks.holds(work)


async def test_where_the_broker_keeps_no_order_nothing_waits_and_nobody_asks(store, clock):
    blocks = Blocks(store, None, clock, Capabilities(model="queue", durable=True))
    store.lanes = [LANE]
    await look(blocks)
    assert store.asked == []
    assert not blocks.any
    assert blocks.lane_of(a_work()) is None


async def test_what_is_on_its_way_to_the_store_blocks_until_it_is_there_and_then_is_known(blocks):
    blocks.leave(LANE)
    blocks.leave(LANE)
    assert blocks.holds(a_work())
    blocks.arrived([LANE], stored=False)
    assert blocks.holds(a_work())
    blocks.arrived([LANE], stored=True)
    assert blocks.holds(a_work())


async def test_what_never_gets_there_blocks_no_more(blocks):
    blocks.leave(LANE)
    blocks.arrived([LANE, None], stored=False)
    assert not blocks.holds(a_work())
    assert not blocks.any


async def test_what_is_stored_while_the_store_is_asked_is_not_lost_to_its_older_answer(blocks, store):
    store.meanwhile = lambda: blocks.store([LANE, None])
    await look(blocks)
    assert blocks.holds(a_work())


async def test_what_is_gone_from_the_store_blocks_no_more_after_the_next_look(blocks, store, clock):
    store.lanes = [LANE, OTHER]
    await look(blocks)
    store.lanes = [OTHER]
    await look(blocks)
    assert blocks.holds(a_work())
    await clock.advance(timedelta(seconds=2))
    await look(blocks)
    assert not blocks.holds(a_work())
    assert blocks.holds(a_work("order-2"))
    store.lanes = []
    await clock.advance(timedelta(seconds=2))
    await look(blocks)
    assert not blocks.any


async def test_after_a_rebalance_it_asks_again_at_once(blocks, store):
    await look(blocks)
    store.lanes = [LANE]
    blocks.forget()
    await look(blocks)
    assert blocks.holds(a_work())


async def test_where_others_read_the_same_lanes_it_asks_each_time(store, clock):
    blocks = Blocks(store, None, clock, ORDERED_QUEUE)
    await look(blocks)
    store.lanes = [LANE]
    await look(blocks)
    assert store.asked == ["all", "all"]
    assert blocks.holds(a_work())


async def test_what_came_before_the_dead_letter_that_blocks_its_lane_does_not_wait(ordering, store):
    store.lanes, store.parked = [LANE], {LANE: (0, "7")}
    works = [a_work(position=place) for place in ("6", "7", "8", "10")]
    await look(ordering, *works)
    assert [ordering.holds(work) for work in works] == [False, True, True, True]
    assert ordering.holds(a_work(position="6", partition=1)), "positions of two partitions compare to nothing"
    ordering.leave(LANE)
    assert ordering.holds(works[0])


async def test_behind_what_is_tried_again_everything_waits(ordering, store):
    store.lanes = [LANE]
    await look(ordering)
    assert ordering.holds(a_work(position="1"))


async def test_the_dead_letter_of_a_lane_is_asked_for_once_until_the_next_look(ordering, store, clock):
    store.lanes, store.parked = [LANE, OTHER], {LANE: (0, "7")}
    for _ in range(2):
        await look(ordering, a_work("order-1"), a_work("order-3"), a_work(None))
    await look(ordering, a_work("order-2"))
    assert store.asked == ["all", ("heads", {LANE}), ("heads", {OTHER})]
    store.parked = {}
    await clock.advance(timedelta(seconds=2))
    await look(ordering)
    assert ordering.holds(a_work(position="6"))


async def test_a_queue_says_of_nothing_that_it_came_before(blocks, store):
    store.lanes, store.parked = [LANE], {LANE: (0, "7")}
    await look(blocks)
    assert blocks.holds(a_work(position="6"))
    assert store.asked == ["all"]


async def test_of_very_many_it_asks_only_for_those_that_were_fetched(blocks, store):
    store.lanes = [LANE, *(("orders", f"many-{number}") for number in range(MOST_KNOWN))]
    await look(blocks, a_work("order-1"), a_work("order-2"), a_work(None))
    assert store.asked[1] == {LANE, OTHER}
    assert blocks.holds(a_work("order-1"))
    assert not blocks.holds(a_work("order-2"))
    store.lanes = [*store.lanes[1:], OTHER]
    await look(blocks, a_work("order-2"))
    assert blocks.holds(a_work("order-1")), "it was not asked about again"
    assert blocks.holds(a_work("order-2"))
    await look(blocks, a_work("order-1"))
    assert not blocks.holds(a_work("order-1"))


async def test_a_claimed_one_goes_back_only_when_one_before_it_was_set_aside_again(blocks, store):
    store.lanes = [LANE]
    await look(blocks)
    run = LaneRun()
    work = a_claimed_work(run)
    assert not blocks.holds(work)
    run.is_broken = True
    assert blocks.holds(work)


async def test_where_a_dead_letter_lay_in_another_broker_nothing_came_before_it(store, clock):
    def is_before(one, other):
        return offset_of(one) < offset_of(other)

    blocks = Blocks(store, None, clock, LOG, is_before)
    store.lanes, store.parked[LANE] = [LANE], (0, "embedded:17")
    await look(blocks)
    assert blocks.holds(a_work("order-1"))
