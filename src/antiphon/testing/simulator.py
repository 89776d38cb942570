"""Do services keep their promises whatever goes wrong, at whatever moment? They are run under faults, from a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta

from msgspec import Struct

from antiphon.errors import UsageError
from antiphon.runtime.service import Service
from antiphon.runtime.settings import ServiceSettings, Settings, TopicSettings
from antiphon.storage.database import Database
from antiphon.testing.simulation.ending import bring_to_rest, check_end
from antiphon.testing.simulation.kept import Kept
from antiphon.testing.simulation.logs import quiet
from antiphon.testing.simulation.loop import SimulatedLoop, StuckError
from antiphon.testing.simulation.member import Member, Stage, make_task
from antiphon.testing.simulation.operator import Events, Operator
from antiphon.testing.simulation.trace import BrokenPromiseError
from antiphon.testing.simulation.troubles import ALL_TROUBLES, Trouble
from antiphon.testing.simulation.world import Model, World, canceled

__all__ = ["ALL_TROUBLES", "BrokenPromiseError", "SimulationReport", "Simulator", "Trouble"]


class SimulationReport(Struct, frozen=True, kw_only=True):
    """What one run came to: how much was published and attempted, and all that happened."""

    seed: int
    steps: int
    published: int
    attempts: int
    simulated: timedelta
    """How much time went by in it."""
    trace: tuple[str, ...]


class Simulator:
    """Runs services in memory, in several processes that come and go, in simulated time, under drawn troubles.

    `services` makes one process's services, anew each time; `events` makes the next event to publish, or several, by
    the chance that it is given. Both must do the same each time. Each of `steps` is one thing that happens; then the
    troubles end, and all must come to rest. `model` is the kind of broker, "and store" where services keep their tables
    in another store than the broker's own, with relays between the two; `afterwards` is given the store at the end,
    to look at what handlers wrote.

    Checked at every moment: nothing is lost, effects in a Transaction happen once, order by key is kept, no attempt
    is counted that was interrupted or is beyond its policy, what is settled is done, nobody works on what is
    another's, and what a breaker, a rate limit, an operator or a deadline stopped is not handled.
    """

    def __init__(
        self,
        services: Callable[[], Sequence[Service]],
        events: Events,
        *,
        seed: int = 0,
        steps: int = 60,
        members: int = 2,
        model: Model = "log",
        troubles: Collection[Trouble] = ALL_TROUBLES,
        afterwards: Callable[[Database], Awaitable[None]] | None = None,
    ) -> None:
        if steps < 1 or members < 1:
            raise UsageError(f"Simulator(steps={steps}, members={members}): there must be at least one of each")
        self._services, self._events = services, events
        self._seed, self._steps, self._members = seed, steps, members
        self._model: Model = model
        self._troubles, self._afterwards = troubles, afterwards

    async def run(self) -> SimulationReport:
        """Run it to its end; the same again each time. It takes an event loop of its own, in a thread.

        Raises BrokenPromiseError, with the step and all that led to it; and what `afterwards` raises.
        """
        return await asyncio.to_thread(self._run_in_loop)

    def _run_in_loop(self) -> SimulationReport:
        loop = SimulatedLoop()
        loop.set_task_factory(make_task)
        world = World(self._seed, self._model, self._troubles, loop)
        try:
            with quiet():
                loop.run_until_complete(self._run(world))
        except StuckError as error:
            world.trace.fail(str(error))
        finally:
            loop.run_until_complete(canceled(asyncio.all_tasks(loop)))
            loop.run_until_complete(world.close())
            loop.close()
        world.trace.raise_broken()
        return self._report(world)

    async def _run(self, world: World) -> None:
        settings = self._settings(world)
        described = [service.describe(world.broker, settings) for service in self._services()]
        groups = {each.name: [topic.name for topic in each.topics if topic.reads] for each in described}
        await world.open([settings.topic(name) for name in settings.topics], groups)
        await self._walk(world, Stage(world, self._services, settings))

    def _report(self, world: World) -> SimulationReport:
        return SimulationReport(
            seed=self._seed,
            steps=self._steps,
            published=len(world.record.entries),
            attempts=world.record.attempts,
            simulated=timedelta(seconds=world.clock.monotonic()),
            trace=tuple(world.trace.lines),
        )

    async def _walk(self, world: World, stage: Stage) -> None:
        members = [Member(number, stage) for number in range(self._members)]
        members[0].start()
        operator, kept = Operator(world, members, self._events), Kept(world, stage.watch)
        for step in range(1, self._steps + 1):
            world.trace.step = step
            await operator.step()
            stage.watch.refresh()
            kept.check()
            for member in members:
                member.check()
            world.trace.raise_broken()
        await bring_to_rest(world, members, operator)
        await check_end(world, stage, kept)
        if self._afterwards is not None:
            await self._afterwards(world.store)
        for member in members:
            await member.stop()
        world.trace.raise_broken()

    def _settings(self, world: World) -> Settings:
        """Few partitions, so that they meet; and bounds that differ from seed to seed."""
        random = world.random
        common = ServiceSettings(
            broker=world.broker.url,
            concurrency=random.choice((1, 2, 4, 8)),
            fetch_messages=random.choice((2, 10, 1000)),
            inflight_messages=random.choice((4, 20, 10_000)),
            transaction_messages=random.choice((1, 3, 500)),
            drain_timeout=timedelta(seconds=random.choice((1, 5, 30))),
        )
        topics = {declared.topic for service in self._services() for declared in service.events()}
        partitions = random.choice((1, 2, 3))
        return Settings(common=common, topics={name: TopicSettings(partitions=partitions) for name in sorted(topics)})
