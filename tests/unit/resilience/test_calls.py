"""A program's own calls are retried as a policy says, and take turns under a rate limit."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from antiphon.errors import CircuitOpenError, RejectError, UsageError
from antiphon.resilience.breaker import Breaker, Circuit
from antiphon.resilience.calls import Turns, retrying
from antiphon.resilience.policy import AT_ONCE, Retry
from antiphon.resilience.rate_limit import RateLimit
from antiphon.testing.clock import VirtualClock

SECOND = timedelta(seconds=1)


def full() -> float:
    """A draw that makes every delay as long as it can be."""
    return 1.0


class Shop:
    """Fails so many times, then answers; keeps the moment of each call."""

    def __init__(self, clock: VirtualClock, failures: int, error: type[Exception] = TimeoutError) -> None:
        self.clock, self.failures, self.error = clock, failures, error
        self.called: list[float] = []

    async def ask(self) -> str:
        self.called.append(self.clock.monotonic())
        if len(self.called) <= self.failures:
            raise self.error(f"attempt {len(self.called)} fails")
        return "12.50"


async def finished(clock: VirtualClock, task: asyncio.Task[str]) -> str:
    await clock.advance(timedelta(hours=1))
    assert task.done()
    return await task


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


async def test_it_is_tried_again_at_once_then_after_growing_delays_until_it_answers() -> None:
    clock = VirtualClock()
    shop = Shop(clock, failures=4)
    policy = Retry(immediate=2, delayed=3, factor=4)
    task = asyncio.create_task(retrying(policy, shop.ask, clock=clock, chance=full))
    assert await finished(clock, task) == "12.50"
    assert shop.called == [0, 0, 0, 1, 5]


async def test_delays_are_drawn_anew_for_each_attempt() -> None:
    clock, draws = VirtualClock(), iter([0.5, 0.25])
    shop = Shop(clock, failures=2)
    policy = Retry(immediate=0, delayed=2, factor=4)
    await finished(clock, asyncio.create_task(retrying(policy, shop.ask, clock=clock, chance=lambda: next(draws))))
    assert shop.called == [0, 0.5, 1.5]


async def test_the_last_error_is_raised_as_it_was_with_a_note_of_the_attempts() -> None:
    clock = VirtualClock()
    shop = Shop(clock, failures=9)
    with pytest.raises(TimeoutError, match="attempt 3 fails") as caught:
        await retrying(Retry(immediate=2, delayed=0), shop.ask, clock=clock)
    assert notes(caught.value) == ["attempt 3, the last"]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("policy", "error"),
    [(AT_ONCE, TimeoutError), (Retry(), RejectError), (Retry(ignorable=(KeyError,)), KeyError)],
)
async def test_what_is_not_to_be_retried_is_raised_at_once(policy: Retry, error: type[Exception]) -> None:
    shop = Shop(VirtualClock(), failures=1, error=error)
    with pytest.raises(error) as caught:
        await retrying(policy, shop.ask, clock=shop.clock)
    assert notes(caught.value) == ["the only attempt"]


async def test_no_attempt_is_made_past_the_deadline() -> None:
    clock = VirtualClock()
    shop = Shop(clock, failures=9)
    policy = Retry(immediate=0, delayed=9, factor=1)
    deadline = clock.now() + 2.5 * SECOND
    task = asyncio.create_task(retrying(policy, shop.ask, clock=clock, deadline=deadline, chance=full))
    with pytest.raises(TimeoutError) as caught:
        await finished(clock, task)
    assert shop.called == [0, 1, 2]
    assert notes(caught.value) == ["attempt 3, the last: the deadline does not allow another"]


async def test_no_attempt_is_made_later_than_the_policy_has_time() -> None:
    clock = VirtualClock()
    shop = Shop(clock, failures=9)
    policy = Retry(immediate=0, delayed=9, factor=1, within=1.5 * SECOND)
    with pytest.raises(TimeoutError) as caught:
        await finished(clock, asyncio.create_task(retrying(policy, shop.ask, clock=clock, chance=full)))
    assert shop.called == [0, 1]
    assert notes(caught.value) == ["attempt 2, the last: the policy's time is used up"]


async def test_a_deadline_without_a_time_zone_is_refused_before_anything_is_called() -> None:
    shop = Shop(VirtualClock(), failures=0)
    with pytest.raises(UsageError, match="time zone"):
        await retrying(Retry(), shop.ask, deadline=datetime(2026, 1, 1))  # noqa: DTZ001  # the point of the test
    assert shop.called == []


async def test_canceling_ends_the_wait_for_the_next_attempt() -> None:
    clock = VirtualClock()
    shop = Shop(clock, failures=9)
    task = asyncio.create_task(retrying(Retry(immediate=0), shop.ask, clock=clock, chance=full))
    await clock.rest()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finished(clock, task)
    assert shop.called == [0]


async def test_a_cancellation_inside_is_no_failure_to_be_retried() -> None:
    calls = list[int]()

    async def canceled() -> None:
        calls.append(1)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await retrying(Retry(transient=(BaseException,)), canceled, clock=VirtualClock())
    assert calls == [1]


async def test_calls_that_share_a_policy_do_not_share_their_attempts() -> None:
    clock = VirtualClock()
    shops = [Shop(clock, failures=2) for _ in range(5)]
    policy = Retry(immediate=1, delayed=1)
    tasks = [asyncio.create_task(retrying(policy, shop.ask, clock=clock, chance=full)) for shop in shops]
    await clock.advance(SECOND)
    assert [await task for task in tasks] == ["12.50"] * 5
    assert [shop.called for shop in shops] == [[0, 0, 1]] * 5


async def test_retries_around_a_circuit_wait_out_its_rest() -> None:
    clock = VirtualClock()
    shop = Shop(clock, failures=2)
    circuit = Circuit(Breaker(least=2, rest=3 * SECOND, trials=1), clock.monotonic)
    policy = Retry(immediate=0, delayed=4, factor=1, first_delay=SECOND, transient=(CircuitOpenError,))

    async def ask() -> str:
        return await circuit.call(shop.ask)

    assert await finished(clock, asyncio.create_task(retrying(policy, ask, clock=clock, chance=full))) == "12.50"
    assert shop.called == [0, 1, 4]


async def test_calls_take_turns_first_come_first_served() -> None:
    clock = VirtualClock()
    turns, done = Turns(RateLimit(messages=2, burst=2), clock), list[tuple[int, float]]()

    async def call(number: int) -> None:
        async def note() -> None:
            done.append((number, clock.monotonic()))

        await turns.call(note)

    tasks = [asyncio.create_task(call(number)) for number in range(5)]
    await clock.rest()
    assert clock.sleepers == 1  # only the first in line watches the time
    await clock.advance(10 * SECOND)
    await asyncio.gather(*tasks)
    assert done == [(0, 0), (1, 0), (2, 0.5), (3, 1.0), (4, 1.5)]


async def test_whoever_is_canceled_while_waiting_takes_no_turn() -> None:
    clock = VirtualClock()
    turns = Turns(RateLimit(messages=1, burst=1), clock)
    shop = Shop(clock, failures=0)
    await turns.call(shop.ask)
    impatient, patient = asyncio.create_task(turns.call(shop.ask)), asyncio.create_task(turns.call(shop.ask))
    await clock.rest()
    impatient.cancel()
    assert await finished(clock, patient) == "12.50"
    assert impatient.cancelled()
    assert shop.called == [0, 1]


async def test_a_long_call_holds_up_no_other() -> None:
    clock = VirtualClock()
    turns = Turns(RateLimit(messages=1, burst=1), clock)
    shop = Shop(clock, failures=0)
    endless = asyncio.create_task(turns.call(asyncio.Event().wait))
    next_one = asyncio.create_task(turns.call(shop.ask))
    assert await finished(clock, next_one) == "12.50"
    endless.cancel()
