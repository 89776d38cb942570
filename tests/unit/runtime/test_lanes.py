"""Lanes: what shares a key runs in turn, what does not runs side by side, and a drain begins nothing more."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Delivery, Partition
from antiphon.events.clock import Clock
from antiphon.runtime.lanes import Lanes
from antiphon.runtime.route import Mode
from antiphon.runtime.suspicion import Suspicion
from antiphon.runtime.work import Work
from antiphon.storage.set_aside import RetryStore
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock
from tests.unit.runtime.shop_events import a_message


class Road:
    """A route as lanes see it."""

    def __init__(self, mode=Mode.AWAIT, *, ordered=True, batch_size=None, batch_wait=timedelta(0)) -> None:
        self.mode, self.by_key = mode, ordered and batch_size is None
        self.batch_size, self.batch_wait = batch_size, batch_wait
        self.by_partition = batch_size is not None
        self.company: object = mode if mode in (Mode.SHARED, Mode.OWN) else self


class Executor:
    """Notes what runs, and holds it until it may go on."""

    def __init__(self) -> None:
        self.runs: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, works, more) -> None:
        self.runs.append([work.delivery.position for work in works])
        await self.gate.wait()


@pytest.fixture
def executor() -> Executor:
    return Executor()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def lanes(executor: Executor, clock: Clock, count: int = 8) -> Lanes:
    suspicion = Suspicion(
        "payments", RetryStore("payments", "here", timedelta(seconds=60)), SqliteDatabase(":memory:"), clock, dict
    )
    return Lanes(count, dict.fromkeys(Mode, executor), suspicion, clock)


def work(position: int, key: str | None, road: Road, partition: int = 0) -> Work:
    return Work(Delivery(Partition("orders", partition), str(position), a_message(key)), road)


async def started(executor, clock, count=8):
    found = lanes(executor, clock, count)
    found.start(lambda error: pytest.fail(repr(error)))
    await clock.rest()
    return found


async def test_what_comes_together_on_a_key_runs_together_in_order(executor, clock):
    road, found = Road(), await started(executor, clock)
    found.dispatch([work(n, "a", road) for n in range(5)])
    await clock.rest()
    assert executor.runs == [["0", "1", "2", "3", "4"]]
    assert found.idle()
    await found.drain(1)


async def test_a_key_waits_for_itself_and_others_do_not(executor, clock):
    road, found = Road(), await started(executor, clock)
    executor.gate.clear()
    found.dispatch([work(0, "a", road)])
    await clock.rest()
    found.dispatch([work(1, "a", road), *[work(n, f"key-{n}", road) for n in range(2, 30)]])
    await clock.rest()
    assert ["1"] not in executor.runs
    assert len(executor.runs) > 1
    assert not found.idle()
    executor.gate.set()
    await clock.rest()
    seen = [position for run in executor.runs for position in run]
    assert sorted(seen, key=int) == [str(n) for n in range(30)]
    await found.drain(1)


class Onward(Executor):
    """Goes on with whatever is ready, and notes who ran it."""

    def __init__(self) -> None:
        super().__init__()
        self.by: list[asyncio.Task[None] | None] = []

    async def run(self, works, more) -> None:
        road = works[0].route
        while works:
            assert works[0].route is road
            self.by.append(asyncio.current_task())
            await super().run(works, more)
            works = more()


async def test_handlers_that_never_wait_are_run_by_one_task_whatever_their_lanes(clock):
    road, executor = Road(), Onward()
    found = await started(executor, clock)
    found.dispatch([work(n, None, road) for n in range(8)])
    await clock.rest()
    assert sorted(executor.runs) == [[str(n)] for n in range(8)]
    assert len(set(executor.by)) == 1
    assert found.idle()
    await found.drain(1)


async def test_who_has_to_wait_is_taken_over_from_and_comes_back_to_its_own_lane(clock):
    road, executor = Road(), Onward()
    found = await started(executor, clock)
    executor.gate.clear()
    found.dispatch([work(n, None, road) for n in range(8)])
    await clock.rest()
    assert len(executor.runs) == len(set(executor.by)) == 8
    found.dispatch([work(n, None, road) for n in range(8, 16)])
    await clock.rest()
    assert len(executor.runs) == 8
    executor.gate.set()
    await clock.rest()
    assert sorted(executor.runs[8:], key=lambda run: int(run[0])) == [[str(n)] for n in range(8, 16)]
    assert found.idle()
    await found.drain(1)


async def test_nobody_goes_on_with_what_is_for_another_handler(clock):
    one, two, executor = Road(), Road(), Onward()
    found = await started(executor, clock)
    found.dispatch([work(0, None, one), work(1, None, two), work(2, None, one)])
    await clock.rest()
    assert sorted(executor.runs) == [["0"], ["1"], ["2"]]
    assert found.idle()
    await found.drain(1)


async def test_a_drain_gives_nothing_more_to_who_would_go_on(clock):
    road, executor = Road(), Onward()
    found = await started(executor, clock, 2)
    executor.gate.clear()
    found.dispatch([work(n, None, road) for n in range(2)])
    await clock.rest()
    found.dispatch([work(n, None, road) for n in range(2, 6)])
    draining = asyncio.create_task(found.drain(10))
    await clock.rest()
    executor.gate.set()
    assert await draining == 4
    assert sorted(executor.runs) == [["0"], ["1"]]


async def test_a_run_ends_where_another_handler_begins(executor, clock):
    one, two, found = Road(), Road(), await started(executor, clock, 1)
    found.dispatch([work(0, "a", one), work(1, "a", one), work(2, "a", two), work(3, "a", one)])
    await clock.rest()
    assert executor.runs == [["0", "1"], ["2"], ["3"]]
    await found.drain(1)


async def test_handlers_that_share_a_transaction_run_together(executor, clock):
    one, two, found = Road(Mode.SHARED), Road(Mode.SHARED), await started(executor, clock, 1)
    found.dispatch([work(0, "a", one), work(1, "b", two), work(2, "c", one)])
    await clock.rest()
    assert executor.runs == [["0", "1", "2"]]
    await found.drain(1)


async def test_what_comes_later_joins_no_run_that_was_begun(executor, clock):
    road, found = Road(), await started(executor, clock, 1)
    executor.gate.clear()
    found.dispatch([work(0, "a", road)])
    await clock.rest()
    found.dispatch([work(1, "a", road)])
    found.dispatch([work(2, "a", road)])
    executor.gate.set()
    await clock.rest()
    assert executor.runs == [["0"], ["1", "2"]]
    await found.drain(1)


async def test_without_order_one_key_runs_side_by_side(executor, clock):
    road, found = Road(ordered=False), await started(executor, clock)
    executor.gate.clear()
    found.dispatch([work(n, "a", road) for n in range(4)])
    await clock.rest()
    assert sorted(executor.runs) == [["0"], ["1"], ["2"], ["3"]]
    executor.gate.set()
    await found.drain(1)


async def test_messages_without_a_key_take_turns(executor, clock):
    road, found = Road(), await started(executor, clock)
    found.dispatch([work(n, None, road) for n in range(8)])
    await clock.rest()
    assert len(executor.runs) == 8
    await found.drain(1)


async def test_batches_are_of_one_partition(executor, clock):
    road, found = Road(batch_size=10), await started(executor, clock, 1000)
    found.dispatch([work(n, f"key-{n}", road, partition=n % 2) for n in range(10)])
    await clock.rest()
    assert sorted(executor.runs) == [["0", "2", "4", "6", "8"], ["1", "3", "5", "7", "9"]]
    await found.drain(1)


async def test_a_batch_waits_for_company_no_longer_than_it_may(executor, clock):
    road, found = Road(batch_size=10, batch_wait=timedelta(seconds=5)), await started(executor, clock)
    found.dispatch([work(0, "a", road)])
    await clock.advance(timedelta(seconds=4))
    found.dispatch([work(1, "a", road)])
    await clock.rest()
    assert executor.runs == []
    await clock.advance(timedelta(seconds=1))
    assert executor.runs == [["0", "1"]]
    await found.drain(1)


async def test_a_full_batch_does_not_wait(executor, clock):
    road, found = Road(batch_size=3, batch_wait=timedelta(seconds=5)), await started(executor, clock)
    found.dispatch([work(n, "a", road) for n in range(3)])
    await clock.rest()
    assert executor.runs == [["0", "1", "2"]]
    await found.drain(1)


async def test_a_drain_finishes_what_runs_and_begins_nothing_more(executor, clock):
    one, two, found = Road(), Road(), await started(executor, clock, 1)
    executor.gate.clear()
    found.dispatch([work(0, "a", one), work(1, "a", two), work(2, "a", one)])
    await clock.rest()
    draining = asyncio.create_task(found.drain(10))
    await clock.rest()
    assert not draining.done()
    executor.gate.set()
    assert await draining == 2
    assert executor.runs == [["0"]]


async def test_a_drain_gives_up_what_does_not_end(executor, clock):
    road, found = Road(), await started(executor, clock)
    executor.gate.clear()
    found.dispatch([work(0, "a", road)])
    await clock.rest()
    assert await found.drain(0) == 1


def cancel_soon() -> None:
    """As a timeout does that a handler began and did not take back."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)


class Careless(Executor):
    """Leaves a cancellation behind that comes when the run is over."""

    async def run(self, works, more) -> None:
        await super().run(works, more)
        cancel_soon()


async def test_a_cancellation_that_comes_when_the_handler_is_done_ends_nothing(clock):
    road, executor = Road(), Careless()
    found = await started(executor, clock, 2)
    for number in range(6):
        found.dispatch([work(number, None, road)])
        await clock.rest()
    assert executor.runs == [[str(number)] for number in range(6)]
    assert await found.drain(1) == 0


async def test_a_cancellation_that_comes_with_the_call_leaves_the_call_in_force(executor, clock):
    found = await started(executor, clock, 2)
    found.dispatch([work(0, None, Road())])
    for task in found._tasks:
        task.cancel()
    await clock.rest()
    assert executor.runs == [["0"]]
    await found.drain(1)


async def test_a_cancellation_that_comes_while_a_batch_fills_only_ends_the_wait(clock):
    road, executor = Road(batch_size=10, batch_wait=timedelta(seconds=5)), Careless()
    found = await started(executor, clock, 1)
    found.dispatch([work(0, None, Road())])
    found.dispatch([work(1, None, road)])
    await clock.rest()
    assert executor.runs == [["0"], ["1"]]
    await found.drain(1)


async def test_a_task_that_is_canceled_in_the_middle_of_the_runtimes_own_work_is_told_of(clock):
    class Working(Executor):
        async def run(self, works, more) -> None:
            cancel_soon()
            await super().run(works, more)

    told: list[BaseException] = []
    executor = Working()
    executor.gate.clear()
    found = lanes(executor, clock)
    found.start(told.append)
    found.dispatch([work(0, "a", Road())])
    await clock.rest()
    assert [type(error).__name__ for error in told] == ["HandlingError"]
    await found.drain(0)


async def test_the_end_of_the_event_loop_ends_the_tasks_and_is_no_fault(executor, clock):
    told: list[BaseException] = []
    found = lanes(executor, clock)
    found.is_ending = lambda: True
    found.start(told.append)
    await clock.rest()
    for task in found._tasks:
        task.cancel()
    await asyncio.wait(found._tasks, timeout=1)
    assert all(task.cancelled() for task in found._tasks)
    assert told == []


async def test_a_lane_that_breaks_is_told_of(clock):
    class Broken:
        async def run(self, works, more) -> None:
            raise RuntimeError("a fault of the runtime's own")

    told: list[BaseException] = []
    found = lanes(Broken(), clock)
    found.start(told.append)
    found.dispatch([work(0, "a", Road())])
    await clock.rest()
    assert [str(error) for error in told] == ["a fault of the runtime's own"]
    await found.drain(0)
