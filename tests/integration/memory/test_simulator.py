"""Services of every shape keep their promises in a simulation, and it finds out whoever breaks one."""

import asyncio
from collections.abc import Callable

import pytest

from antiphon import Service
from antiphon.errors import UsageError
from antiphon.storage.database import Database
from antiphon.testing import BrokenPromiseError, Simulator
from antiphon.testing.simulation.world import Model
from tests.integration.memory.simulated_services import SHAPES, OrderPlaced, placed

SEEDS = 13
STEPS = 45


@pytest.mark.parametrize("model", ["log", "queue", "log and store", "queue and store"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_services_keep_their_promises_whatever_goes_wrong(shape: str, model: Model) -> None:
    for seed in range(SEEDS):
        report = await Simulator(SHAPES[shape], placed, seed=seed, steps=STEPS, model=model).run()
        assert report.published > 0


@pytest.mark.parametrize("model", ["log", "queue", "log and store"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_seed_does_the_same_each_time(shape: str, model: Model) -> None:
    simulator = Simulator(SHAPES[shape], placed, seed=3, model=model)
    first, second = await simulator.run(), await simulator.run()
    assert first == second
    assert first.trace != (await Simulator(SHAPES[shape], placed, seed=4, model=model).run()).trace


async def test_two_simulations_side_by_side_do_not_disturb_each_other() -> None:
    alone = await Simulator(SHAPES["sharing"], placed, seed=5).run()
    both = await asyncio.gather(*(Simulator(SHAPES["sharing"], placed, seed=5).run() for _ in range(2)))
    assert list(both) == [alone, alone]


async def test_a_broken_promise_is_told_with_seed_step_and_what_led_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.runtime.blocks.Blocks.holds", lambda self, work: False)
    first, second = [await broken(SHAPES["sharing"], "log") for _ in range(2)]
    assert first is not None
    assert second is not None
    assert (first.seed, first.step, first.trace) == (second.seed, second.step, second.trace)
    assert str(first).startswith(f"seed {first.seed}, step {first.step}: {first.promise}")
    assert first.trace[-1].endswith(f"BROKEN: {first.promise}")
    assert first.trace[-1] in str(first)


async def test_what_handlers_wrote_can_be_looked_at_when_all_is_over() -> None:
    seen = list[int]()

    async def afterwards(store: Database) -> None:
        seen.extend(await store.fetch("select count(*) from simulated_effects", row=int))
        raise AssertionError("the books do not balance")

    with pytest.raises(AssertionError, match="the books do not balance"):
        await Simulator(SHAPES["sharing"], placed, steps=20, afterwards=afterwards).run()
    assert seen[0] > 0


async def test_a_service_that_is_busy_forever_is_found_out() -> None:
    def spinning() -> list[Service]:
        service = Service("payments")

        @service.on(OrderPlaced)
        async def take(order: OrderPlaced) -> None:
            while True:
                await asyncio.wait_for(asyncio.sleep(0), timeout=None)

        return [service]

    with pytest.raises(BrokenPromiseError, match="busy forever"):
        await Simulator(spinning, placed).run()


def test_a_simulation_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one of each"):
        Simulator(SHAPES["sharing"], placed, steps=0)


async def broken(services: Callable[[], list[Service]], model: Model, seeds: int = 60) -> BrokenPromiseError | None:
    """What the first of some seeds finds that finds anything."""
    for seed in range(seeds):
        try:
            await Simulator(services, placed, seed=seed, model=model).run()
        except BrokenPromiseError as error:
            return error
    return None
