"""How far a partition is done: the watermark never passes what is unfinished."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.ports import Partition
from antiphon.runtime.window import FINISHED, LOST, SETTLED, WAITING, Windows
from tests.unit.runtime.shop_events import deliveries

ZERO, ONE = Partition("orders", 0), Partition("orders", 1)


def finish(*some):
    for each in some:
        each.state = FINISHED


def test_only_the_finished_prefix_moves_the_watermark():
    windows, (a, b, c) = Windows(), deliveries(3)
    windows.track([a, b, c])
    assert not windows.prefix()
    finish(b, c)
    assert not windows.prefix()
    assert not windows.ready()
    finish(a)
    assert windows.ready()
    assert windows.prefix().watermarks == {ZERO: "2"}


def test_partitions_are_apart():
    windows, first, second = Windows(), deliveries(2), deliveries(2, partition=1)
    windows.track([first[0], second[0], first[1], second[1]])
    finish(first[0], second[0], second[1])
    assert windows.prefix().watermarks == {ZERO: "0", ONE: "1"}


def test_what_is_being_committed_counts_for_its_own_transaction_only():
    windows, (a, b) = Windows(), deliveries(2)
    windows.track([a, b])
    assert windows.prefix({a, b}).watermarks == {ZERO: "1"}
    assert not windows.prefix()


def test_memory_is_given_back_when_a_prefix_is_durable():
    windows, (a, b, c) = Windows(), deliveries(3)
    windows.track([a, b, c])
    assert (windows.count, windows.bytes) == (3, 6)
    finish(a, b)
    windows.drop(windows.prefix())
    assert (windows.count, windows.bytes) == (1, 2)
    assert [each.state for each in (a, b, c)] == [SETTLED, SETTLED, WAITING]
    finish(c)
    windows.drop(windows.prefix())
    assert (windows.count, windows.bytes) == (0, 0)


def test_dropping_one_prefix_twice_drops_it_once():
    windows, (a, b) = Windows(), deliveries(2)
    windows.track([a, b])
    finish(a)
    prefix = windows.prefix()
    windows.drop(prefix)
    windows.drop(prefix)
    assert windows.count == 1


def test_an_older_prefix_dropped_after_a_newer_one_changes_nothing():
    windows, (a, b, c) = Windows(), deliveries(3)
    windows.track([a, b, c])
    finish(a)
    older = windows.prefix()
    finish(b)
    windows.drop(windows.prefix())
    windows.drop(older)
    assert windows.count == 1


def test_what_is_lost_is_forgotten_and_can_no_longer_be_finished():
    windows, first, second = Windows(), deliveries(2), deliveries(1, partition=1)
    windows.track([*first, *second])
    finish(first[0])
    prefix = windows.prefix()
    assert windows.lose([ZERO]) == first
    assert {each.state for each in first} == {LOST}
    assert (windows.count, windows.bytes) == (1, 2)
    windows.drop(prefix)
    assert windows.count == 1
    assert windows.lose([ZERO]) == []


def test_what_comes_again_after_a_loss_begins_anew():
    windows, old, new = Windows(), deliveries(2), deliveries(2)
    windows.track(old)
    windows.lose([ZERO])
    windows.track(new)
    finish(*old)
    assert not windows.prefix()
    finish(new[0])
    assert windows.prefix().watermarks == {ZERO: "0"}


def test_what_waits_is_in_order_of_arrival():
    windows, some = Windows(), deliveries(4)
    windows.track(some)
    finish(some[1])
    assert windows.waiting(ZERO) == [some[0], some[2], some[3]]
    assert windows.waiting(ONE) == []


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_in_whatever_order_things_finish_the_watermark_is_the_longest_prefix(count: int, random: random.Random):
    windows, some = Windows(), deliveries(count)
    windows.track(some)
    order = list(some)
    random.shuffle(order)
    for finished, delivery in enumerate(order, 1):
        finish(delivery)
        unfinished = [int(each.position) for each in some if each.state == WAITING]
        first = min(unfinished, default=count)
        if random.random() < 0.5:
            assert windows.prefix().watermarks in ({}, {ZERO: str(first - 1)})
            windows.drop(windows.prefix())
            assert windows.count == count - first
        assert finished == len([each for each in some if each.state != WAITING])
