"""How finished deliveries are told to a log and to a queue, and what a failed telling leaves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from antiphon.brokers.ports import DONE, RELEASE, Notice, NoticeKind, Partition, Settlement
from antiphon.errors import LeaseLostError
from antiphon.runtime.settlement import LogSettling, QueueSettling
from antiphon.runtime.window import FINISHED, LOST, SETTLED, WAITING
from tests.unit.runtime.shop_events import deliveries

ZERO = Partition("orders", 0)


class Log:
    """Notes what is committed; fails when told to."""

    def __init__(self):
        self.commits, self.fenced, self.paused, self.fails = [], set(), set(), False

    async def commit(self, watermarks):
        if self.fails:
            raise LeaseLostError("gone")
        self.commits.append(dict(watermarks))

    async def commit_in(self, tx, watermarks, held=()):
        await self.commit(watermarks)
        self.fenced |= set(held)

    def pause(self, partitions):
        self.paused |= set(partitions)

    def resume(self, partitions):
        self.paused -= set(partitions)


class Queue:
    def __init__(self):
        self.settled: list[Settlement] = []
        self.extended, self.fails = [], False

    async def settle(self, settlements: Sequence[Settlement]):
        self.settled += settlements

    async def settle_in(self, tx, settlements):
        if self.fails:
            raise LeaseLostError("gone")
        self.settled += settlements

    async def extend(self, deliveries):
        self.extended += deliveries


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def queue():
    return Queue()


async def test_a_log_is_told_the_finished_prefix_once(log):
    settling, some = LogSettling(log), deliveries(3)
    settling.track(some)
    some[0].state = FINISHED
    assert settling.pending()
    assert await settling.settle() == 1
    assert await settling.settle() == 0
    assert log.commits == [{ZERO: "0"}]
    assert (settling.count, settling.bytes) == (2, 4)


async def test_a_commit_that_fails_forgets_nothing(log):
    settling, some = LogSettling(log), deliveries(1)
    settling.track(some)
    some[0].state, log.fails = FINISHED, True
    with pytest.raises(LeaseLostError):
        await settling.settle()
    assert settling.count == 1
    log.fails = False
    assert await settling.settle() == 1


@pytest.mark.parametrize("kind", [LogSettling, QueueSettling])
async def test_in_a_transaction_nothing_is_finished_until_it_is_confirmed(kind, log, queue):
    settling, some = kind(log if kind is LogSettling else queue), deliveries(2)
    settling.track(some)
    confirm = await settling.settle_in(None, some)
    assert not settling.pending()
    assert {each.state for each in some} == {WAITING}
    assert settling.count == 2
    assert confirm() == 2
    assert settling.count == 0


async def test_a_log_is_told_what_finished_beside_a_transaction_with_it(log):
    settling, some = LogSettling(log), deliveries(3)
    settling.track(some)
    some[0].state = FINISHED
    confirm = await settling.settle_in(None, some[1:2])
    assert log.commits == [{ZERO: "1"}]
    assert log.fenced == set()
    assert confirm() == 2
    assert [each.state for each in some] == [SETTLED, SETTLED, WAITING]


async def test_what_is_done_before_its_turn_waits_for_what_comes_before(log):
    settling, some = LogSettling(log), deliveries(2)
    settling.track(some)
    confirm = await settling.settle_in(None, some[1:])
    assert log.commits == [{}]
    assert log.fenced == {ZERO}
    assert confirm() == 0
    assert some[1].state == FINISHED
    some[0].state = FINISHED
    assert await settling.settle() == 2


@pytest.mark.parametrize("kind", [LogSettling, QueueSettling])
async def test_what_was_lost_meanwhile_is_refused(kind, log, queue):
    settling, some = kind(log if kind is LogSettling else queue), deliveries(2)
    settling.track(some)
    some[1].state = LOST
    with pytest.raises(LeaseLostError, match="was given up while it was handled"):
        await settling.settle_in(None, some)


@pytest.mark.parametrize("kind", [NoticeKind.LOST, NoticeKind.REVOKED])
async def test_what_went_elsewhere_is_forgotten(log, kind):
    settling, some = LogSettling(log), deliveries(2)
    settling.track(some)
    assert settling.notice([Notice(NoticeKind.ASSIGNED, (ZERO,))]) == []
    assert settling.notice([Notice(kind, (ZERO,))]) == some
    assert settling.count == 0
    some[0].state = LOST
    assert await settling.settle() == 0


async def test_a_log_pauses_and_a_queue_holds(log, queue):
    LogSettling(log).pause([ZERO])
    assert log.paused == {ZERO}
    LogSettling(log).resume([ZERO])
    assert log.paused == set()
    QueueSettling(queue).pause([ZERO])
    QueueSettling(queue).resume([ZERO])


async def test_a_queue_is_told_each_delivery_once(queue):
    settling, some = QueueSettling(queue), deliveries(3)
    settling.track(some)
    some[0].state = some[2].state = FINISHED
    assert settling.pending()
    assert await settling.settle() == 2
    assert queue.settled == [Settlement(some[0], DONE), Settlement(some[2], DONE)]
    assert (settling.count, settling.bytes) == (1, 2)
    assert not settling.pending()


async def test_what_a_queue_no_longer_holds_goes_back_with_all_of_its_transaction(queue):
    settling, some = QueueSettling(queue), deliveries(2)
    settling.track(some)
    queue.fails = True
    with pytest.raises(LeaseLostError):
        await settling.settle_in(None, some)
    assert {each.state for each in some} == {LOST}
    assert settling.count == 0
    assert settling.pending()
    await settling.settle()
    assert queue.settled == [Settlement(each, RELEASE) for each in some]
    assert not settling.pending()


async def test_the_end_releases_only_what_is_unfinished(queue):
    settling, some = QueueSettling(queue), deliveries(2)
    settling.track(some)
    some[0].state = FINISHED
    await settling.release()
    assert queue.settled == [Settlement(some[1], RELEASE)]
    assert settling.count == 1


async def test_only_what_is_unfinished_is_held_longer(queue):
    settling, some = QueueSettling(queue), deliveries(2)
    settling.track(some)
    some[0].state = FINISHED
    await settling.extend()
    assert queue.extended == [some[1]]
    assert settling.waiting(ZERO) == [some[1]]
