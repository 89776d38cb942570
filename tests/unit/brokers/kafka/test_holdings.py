"""A member hands out, settles and tells of no more than it holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from antiphon.brokers.kafka.holdings import Holdings, Lane
from antiphon.brokers.kafka.places import Place
from antiphon.brokers.ports import Delivery, Notice, NoticeKind, Partition
from antiphon.errors import ConnectionLostError, PositionLostError
from antiphon.events.message import Message

A, B, C = (Partition("orders", number) for number in range(3))
LARGE = 1 << 30


def deliveries(partition, first, count, size=10):
    now = datetime.now(UTC)
    return [
        Delivery(partition, str(offset), Message(str(offset), "T", now, b"x" * size))
        for offset in range(first, first + count)
    ]


def put(holdings, partition, first, count, size=10):
    holdings.put(partition, deliveries(partition, first, count, size), count * size)


@pytest.fixture
def holdings():
    holdings = Holdings(lambda: None)
    holdings.gain(Lane(partition, Place(0)) for partition in (A, B, C))
    assert holdings.take_notices() == [Notice(NoticeKind.ASSIGNED, (A, B, C))]
    return holdings


def places(taken):
    return [(each.partition.number, int(each.position)) for each in taken]


def test_each_partition_has_its_share(holdings):
    for partition, count in ((A, 100), (B, 3), (C, 100)):
        put(holdings, partition, 0, count)
    taken = holdings.take(23, LARGE)
    assert [sum(each.partition == p for each in taken) for p in (A, B, C)] == [10, 3, 10]
    assert places(taken) == [*((1, n) for n in range(3)), *((0, n) for n in range(10)), *((2, n) for n in range(10))]


def test_what_is_large_comes_alone(holdings):
    put(holdings, A, 0, 3, size=1000)
    assert len(holdings.take(10, 1)) == 1
    assert len(holdings.take(10, 2000)) == 2
    assert holdings.take(10, 2000) == []


def test_of_a_paused_partition_nothing_is_handed_out(holdings):
    put(holdings, A, 0, 3)
    put(holdings, B, 0, 3)
    holdings.set_paused([A], True)
    assert {each.partition for each in holdings.take(10, LARGE)} == {B}
    holdings.set_topic_paused("orders", True)
    holdings.set_paused([A], False)
    assert holdings.take(10, LARGE) == []
    holdings.set_topic_paused("orders", False)
    assert len(holdings.take(10, LARGE)) == 3


def test_of_a_partition_that_was_lost_nothing_counts_until_its_reader_knows(holdings):
    put(holdings, A, 0, 3)
    holdings.take(10, LARGE)
    holdings.drop(NoticeKind.LOST, [A])
    holdings.gain([Lane(A, Place(0))])
    put(holdings, A, 0, 3)
    assert holdings.take(10, LARGE) == []
    assert holdings.sort_out({A: "1"}) == ([], [A])
    assert [notice.kind for notice in holdings.take_notices()] == [NoticeKind.LOST, NoticeKind.ASSIGNED]
    assert len(holdings.take(10, LARGE)) == 3


def test_a_watermark_past_what_was_handed_out_is_void(holdings):
    put(holdings, A, 0, 5)
    holdings.take(3, LARGE)
    assert holdings.sort_out({A: "4", B: "0"}) == ([], [A, B])
    moves, lost = holdings.sort_out({A: "2"})
    assert ([(lane.partition, offset) for lane, offset in moves], lost) == ([(A, 3)], [])


def test_what_was_voided_is_read_again_from_where_it_was_settled(holdings):
    put(holdings, A, 0, 5)
    holdings.take(5, LARGE)
    holdings.lanes[A].done = 2
    holdings.void([A])
    assert (holdings.lanes[A].next, holdings.lanes[A].is_misplaced) == (2, True)
    assert [notice.kind for notice in holdings.take_notices()] == [NoticeKind.LOST, NoticeKind.ASSIGNED]


def test_a_move_drops_what_waits_and_goes_on_there(holdings):
    put(holdings, A, 0, 5)
    holdings.take(2, LARGE)
    holdings.move({A: Place(40, "token")})
    holdings.move({A: Place(40, "token")})
    assert holdings.take_notices() == [Notice(NoticeKind.LOST, (A,)), Notice(NoticeKind.ASSIGNED, (A,))]
    put(holdings, A, 3, 5)  # read before the driver was told
    assert holdings.take(10, LARGE) == []
    holdings.lanes[A].is_misplaced = False
    put(holdings, A, 40, 1)
    assert places(holdings.take(10, LARGE)) == [(0, 40)]


def test_a_passing_trouble_is_told_once_and_a_failure_until_the_group_is_moved(holdings):
    holdings.report(ConnectionLostError("away"))
    with pytest.raises(ConnectionLostError):
        holdings.take(10, LARGE)
    assert holdings.take(10, LARGE) == []
    holdings.report(PositionLostError("payments", "orders", 0, "3", "9"), is_final=True)
    put(holdings, B, 0, 1)
    assert len(holdings.take(10, LARGE)) == 1
    for _ in range(2):
        with pytest.raises(PositionLostError):
            holdings.take(10, LARGE)
    holdings.move({A: Place(9, "token")})
    assert holdings.take(10, LARGE) == []


class Guarded(dict):
    """Lanes that only whoever has the lock may look through: two threads do, and each changes them."""

    def __init__(self, holdings):
        super().__init__(holdings.lanes)
        self._owned = holdings.changed._is_owned

    def __iter__(self):
        assert self._owned()
        return super().__iter__()

    def values(self):
        assert self._owned()
        return super().values()

    def items(self):
        assert self._owned()
        return super().items()


@pytest.mark.parametrize(
    "call",
    [
        lambda holdings: holdings.is_full(),
        lambda holdings: holdings.parked(),
        lambda holdings: holdings.gaps(),
        lambda holdings: holdings.park(),
        lambda holdings: holdings.unpark(),
        lambda holdings: holdings.take(5, LARGE),
        lambda holdings: holdings.drained_of([A, B]),
        lambda holdings: holdings.sort_out({A: "0"}),
        lambda holdings: holdings.void([A]),
        lambda holdings: holdings.move({B: Place(7, "sought")}),
        lambda holdings: holdings.lose_all(),
    ],
)
def test_nobody_looks_through_what_is_held_while_another_thread_changes_it(holdings, call):
    put(holdings, A, 0, 3)
    holdings.lanes = Guarded(holdings)
    call(holdings)
