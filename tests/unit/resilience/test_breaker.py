"""A circuit opens when calls fail or drag, lets a few trials through after a rest, and never gets stuck."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from antiphon.errors import CircuitOpenError, DeclarationError, DecodeError, RejectError, UsageError
from antiphon.resilience.breaker import Breaker, Circuit, CircuitState, Permit

SECOND = timedelta(seconds=1)
QUICK = timedelta(milliseconds=5)


class Watch:
    """A monotonic time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


def admitted(circuit: Circuit) -> Permit:
    permit = circuit.admit()
    assert permit is not None
    return permit


def fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        circuit.failed(admitted(circuit), QUICK)


def succeed(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        circuit.succeeded(admitted(circuit), QUICK)


def opened(watch: Watch, **given: object) -> Circuit:
    circuit = Circuit(Breaker(least=1, **given), watch)
    fail(circuit, 1)
    assert circuit.state is CircuitState.OPEN
    return circuit


def half_open(watch: Watch, **given: object) -> Circuit:
    circuit = opened(watch, **given)
    watch.now += circuit.breaker.rest.total_seconds()
    assert circuit.state is CircuitState.HALF_OPEN
    return circuit


def test_it_opens_at_the_failure_rate_and_says_why(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=4, failure_rate=0.5), watch)
    succeed(circuit, 3)
    fail(circuit, 2)
    assert circuit.state is CircuitState.CLOSED
    fail(circuit, 1)
    assert circuit.state is CircuitState.OPEN
    assert circuit.admit() is None
    assert (circuit.opened, circuit.reason) == (1, "3 of 6 failed")


def test_too_few_outcomes_never_open_it(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=20), watch)
    fail(circuit, 19)
    assert circuit.state is CircuitState.CLOSED
    succeed(circuit, 1)
    assert circuit.state is CircuitState.OPEN


def test_slow_calls_open_it_though_they_succeed(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=2, slow=2 * SECOND, slow_rate=0.5), watch)
    circuit.succeeded(admitted(circuit), 2 * SECOND - timedelta(microseconds=1))
    circuit.succeeded(admitted(circuit), 2 * SECOND)
    assert circuit.state is CircuitState.OPEN
    assert circuit.reason == "1 of 2 took 2s or longer"


def test_failures_that_are_long_past_do_not_count(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=2, window=60 * SECOND, failure_rate=1.0), watch)
    fail(circuit, 1)
    watch.now += 60
    fail(circuit, 1)
    assert circuit.state is CircuitState.CLOSED
    watch.now += 30
    fail(circuit, 1)
    assert circuit.state is CircuitState.OPEN


def test_many_successes_noted_at_once_count_as_each_alone(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=4, failure_rate=0.5), watch)
    circuit.note(circuit.generation, 4)
    fail(circuit, 3)
    assert circuit.state is CircuitState.CLOSED
    fail(circuit, 1)
    assert circuit.reason == "4 of 8 failed"


def test_slow_calls_noted_at_once_open_it(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=4, slow=SECOND, slow_rate=0.75), watch)
    circuit.note(circuit.generation, 4, slow=3)
    assert circuit.reason == "3 of 4 took 1s or longer"


def test_it_waits_out_its_rest_then_lets_exactly_its_trials_through(watch: Watch) -> None:
    circuit = opened(watch, rest=30 * SECOND, trials=2)
    assert circuit.wait() == 30 * SECOND
    watch.now += 29.5
    assert (circuit.admit(), circuit.wait()) == (None, SECOND / 2)
    watch.now += 0.5
    assert circuit.wait() == timedelta()
    first, second = admitted(circuit), admitted(circuit)
    assert first != second
    assert circuit.admit() is None


def test_it_closes_when_all_trials_succeed(watch: Watch) -> None:
    circuit = half_open(watch, trials=2)
    first, second = admitted(circuit), admitted(circuit)
    circuit.succeeded(first, QUICK)
    assert (circuit.state, circuit.admit()) == (CircuitState.HALF_OPEN, None)
    circuit.succeeded(second, QUICK)
    assert (circuit.state, circuit.wait()) == (CircuitState.CLOSED, None)
    succeed(circuit, 1)


def test_it_forgets_the_old_failures_when_it_closes(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=2, failure_rate=0.5, rest=SECOND, trials=1), watch)
    fail(circuit, 2)
    watch.now += 1
    succeed(circuit, 2)
    assert circuit.state is CircuitState.CLOSED


def test_a_failed_trial_opens_it_again_for_a_whole_rest(watch: Watch) -> None:
    circuit = half_open(watch, trials=3)
    admitted(circuit)
    circuit.failed(admitted(circuit), QUICK)
    assert (circuit.state, circuit.wait(), circuit.opened) == (CircuitState.OPEN, circuit.breaker.rest, 2)
    assert circuit.reason == "a trial failed"


def test_trials_that_are_slow_open_it_again(watch: Watch) -> None:
    circuit = half_open(watch, trials=2, slow=SECOND, slow_rate=0.5)
    circuit.succeeded(admitted(circuit), SECOND)
    circuit.succeeded(admitted(circuit), QUICK)
    assert (circuit.state, circuit.reason) == (CircuitState.OPEN, "1 of 2 trials were slow")


def test_a_trial_that_never_reports_expires_and_is_given_again(watch: Watch) -> None:
    circuit = half_open(watch, trials=1, permit_expiry=60 * SECOND)
    lost = admitted(circuit)
    watch.now += 59
    assert (circuit.admit(), circuit.wait()) == (None, SECOND)
    watch.now += 1
    again = admitted(circuit)
    assert again.number != lost.number
    circuit.failed(lost, QUICK)
    assert circuit.state is CircuitState.HALF_OPEN
    circuit.succeeded(again, QUICK)
    assert circuit.state is CircuitState.CLOSED


def test_a_released_trial_is_given_again_and_releasing_twice_gives_one(watch: Watch) -> None:
    circuit = half_open(watch, trials=1)
    permit = admitted(circuit)
    circuit.released(permit)
    circuit.released(permit)
    admitted(circuit)
    assert circuit.admit() is None
    circuit.failed(permit, QUICK)
    assert circuit.state is CircuitState.HALF_OPEN


def test_a_trial_reported_twice_counts_once(watch: Watch) -> None:
    circuit = half_open(watch, trials=2)
    permit = admitted(circuit)
    circuit.succeeded(permit, QUICK)
    circuit.succeeded(permit, QUICK)
    assert circuit.state is CircuitState.HALF_OPEN


def test_a_late_outcome_of_an_earlier_generation_is_ignored(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=1, trials=1, rest=SECOND), watch)
    late = [admitted(circuit) for _ in range(3)]
    fail(circuit, 1)
    watch.now += 1
    trial = admitted(circuit)
    circuit.failed(late[0], QUICK)
    circuit.note(late[0].generation, 5)
    assert circuit.state is CircuitState.HALF_OPEN
    circuit.succeeded(trial, QUICK)
    circuit.failed(late[1], QUICK)
    circuit.released(late[2])
    assert (circuit.state, circuit.generation) == (CircuitState.CLOSED, 4)


def test_waiting_as_long_as_it_says_is_always_enough(watch: Watch) -> None:
    circuit = opened(watch, rest=timedelta(microseconds=1_234_567))
    watch.now += 0.1
    wait = circuit.wait()
    assert wait is not None
    watch.now += wait.total_seconds()
    admitted(circuit)


REFUSED = [
    ({"failure_rate": 0}, r"Breaker\(failure_rate=0\): it is a share above 0 and up to 1"),
    ({"failure_rate": 1.01}, "a share above 0 and up to 1"),
    ({"failure_rate": "half"}, "finite number"),
    ({"slow": SECOND, "slow_rate": -1}, "a share above 0 and up to 1"),
    ({"slow_rate": 0.5}, r"add slow=timedelta\(seconds=2\), or leave slow_rate out"),
    ({"slow": timedelta()}, "longer than nothing"),
    ({"slow": 60 * SECOND}, r"Breaker\(slow=1m, permit_expiry=1m\).*lengthen permit_expiry or shorten slow"),
    ({"window": timedelta()}, "longer than nothing"),
    ({"rest": 30}, "it is a timedelta"),
    ({"permit_expiry": -SECOND}, "longer than nothing"),
    ({"least": 0}, "the least is least=1"),
    ({"trials": 0}, "the least is trials=1"),
    ({"ignores": (3,)}, "no exception class"),
]


@pytest.mark.parametrize(("given", "told"), REFUSED)
def test_a_breaker_that_contradicts_itself_is_refused_with_how_to_mend_it(given: dict[str, object], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        Breaker(**given)


@pytest.mark.parametrize(
    ("breaker", "told"),
    [
        (Breaker(), "opens when 50% of at least 20 fail within 1m; rests 30s, closes when 3 trials succeed"),
        (
            Breaker(failure_rate=0.07, slow=2 * SECOND, slow_rate=0.9, trials=1, ignores=(KeyError, OSError)),
            (
                "opens when 7% of at least 20 fail within 1m, or 90% take 2s or longer; rests 30s, closes when a trial "
                "succeeds; ignores: KeyError, OSError"
            ),
        ),
    ],
)
def test_it_says_in_a_line_what_it_does(breaker: Breaker, told: str) -> None:
    assert breaker.describe() == told


def test_errors_about_a_message_or_the_code_are_no_failures() -> None:
    breaker = Breaker(ignores=(LookupError,))
    innocent = [
        KeyError(),
        RejectError("no"),
        DecodeError("m", "E", 1, 1, "odd"),
        UsageError("no"),
        asyncio.CancelledError(),
    ]
    assert not any(breaker.is_failure(each) for each in innocent)
    assert breaker.is_failure(TimeoutError())


async def answer() -> str:
    return "42"


async def test_a_call_returns_what_the_function_returns_and_takes_its_time(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=1, slow=SECOND), watch)

    async def drag() -> str:
        watch.now += 1
        return await answer()

    assert await circuit.call(answer) == "42"
    watch.now += 60
    assert await circuit.call(drag) == "42"
    assert circuit.reason == "1 of 1 took 1s or longer"


async def test_a_call_raises_what_the_function_raises_and_counts_it(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=1), watch)

    async def broken() -> None:
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        await circuit.call(broken)
    assert circuit.state is CircuitState.OPEN


async def test_an_ignored_error_is_an_answer_and_closes_the_circuit_again(watch: Watch) -> None:
    circuit = half_open(watch, trials=1, ignores=(KeyError,))

    async def missing() -> None:
        raise KeyError("who")

    with pytest.raises(KeyError):
        await circuit.call(missing)
    assert circuit.state is CircuitState.CLOSED


async def test_an_open_circuit_calls_nothing_and_says_when_it_may_be_tried(watch: Watch) -> None:
    circuit = Circuit(Breaker(least=1, rest=30 * SECOND), watch, name="the price list")
    fail(circuit, 1)
    watch.now += 17.5
    calls = list[str]()

    async def call() -> None:
        calls.append("called")

    with pytest.raises(CircuitOpenError, match=r"the price list is open.*tried again in 12\.5 s") as caught:
        await circuit.call(call)
    assert (caught.value.wait, caught.value.retryable, calls) == (12.5 * SECOND, True, [])


async def test_a_canceled_call_has_no_outcome_and_gives_its_permit_back(watch: Watch) -> None:
    circuit = half_open(watch, trials=1)
    task = asyncio.create_task(circuit.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    assert circuit.admit() is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert circuit.state is CircuitState.HALF_OPEN
    assert await circuit.call(answer) == "42"
    assert circuit.state is CircuitState.CLOSED
