"""How does a simulated process start, stop in order, or end in the middle of whatever it does?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any
from zlib import crc32

from antiphon.errors import AntiphonError
from antiphon.runtime.chance import Chance
from antiphon.runtime.route import Route
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.testing.simulation.broker import SimulatedBroker
from antiphon.testing.simulation.handling import Meddling
from antiphon.testing.simulation.loop import at_once
from antiphon.testing.simulation.seat import Seat, Takings
from antiphon.testing.simulation.settled import Settled
from antiphon.testing.simulation.store import SimulatedStore
from antiphon.testing.simulation.watch import Watch
from antiphon.testing.simulation.world import World, canceled

Tasks = dict[asyncio.Task[Any], None]
_tasks: ContextVar[Tasks | None] = ContextVar("simulated_process", default=None)
"""Those of the process that runs now: all of them end with it."""


def make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,  # noqa: ANN401 - whatever asyncio passes on
) -> asyncio.Task[Any]:
    """A task that is known as one of the process that made it."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    tasks = _tasks.get()
    if tasks is not None:
        tasks[task] = None
        task.add_done_callback(lambda done: tasks.pop(done, None))
    return task


class Stage:
    """What every process of one simulation is given."""

    def __init__(self, world: World, services: Callable[[], Sequence[Service]], settings: Settings) -> None:
        self.world, self.services, self.settings = world, services, settings
        self.watch, self.settled, self.takings = (
            Watch(world),
            Settled(world.broker, world.store, world.record, world.trace),
            Takings(),
        )
        self.guarantees: Mapping[str, Mapping[str, str]] = {
            service.name: {each.name: each.guarantee for each in service.describe(world.broker, settings).handlers}
            for service in services()
        }
        """Of each service, by handler."""


class Member:
    """One place in the groups: a process in it, or nobody until the next one starts."""

    def __init__(self, number: int, stage: Stage) -> None:
        self._number, self._stage, self._world = number, stage, stage.world
        self._starts = 0
        self.seat = Seat(f"p{number}", stage.world, stage.takings)
        self.services: Sequence[Service] = ()
        self.is_up = False
        self._tasks: Tasks = {}
        self._context = Context()
        self._changing: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return str(self.seat)

    @property
    def is_down(self) -> bool:
        """Whether nobody is there."""
        return not self.is_up and self._changing is None

    def start(self) -> None:
        """Begin to start a process here."""
        self._starts += 1
        self.seat = Seat(f"p{self._number}.{self._starts}", self._world, self._stage.takings)
        self._tasks = {}
        self._context = copy_context()
        self._context.run(_tasks.set, self._tasks)
        self.services = self._stage.services()
        self._world.trace.note(f"{self} starts")
        self._changing = asyncio.get_running_loop().create_task(self._start(), context=self._context)

    async def _start(self) -> None:
        seat, stage = self.seat, self._stage
        paused = frozenset(self._world.paused)
        broker = SimulatedBroker(self._world.broker, seat, stage.settled)
        store = SimulatedStore(self._world.store, seat) if self._world.is_apart else broker.database
        try:
            for service in self.services:
                service.hooks.failed.watch(partial(stage.watch.counted, seat, service.name))
                service.hooks.circuit_changed.watch(partial(seat.stopped.changed, service.name))
                await service.start(broker, stage.settings, self._stand_ins(service), store)
        except AntiphonError as error:
            self._world.trace.note(f"{self} cannot start: {error}")
            await self._stop_all()
            if not error.retryable:
                self._world.trace.fail(f"{self} can never start: {error}")
        else:
            seat.stopped.paused |= paused & self._world.paused
            self.is_up = True
            self._world.trace.note(f"{self} runs")
        finally:
            self._changing = None

    def _stand_ins(self, service: Service) -> StandIns:
        world = self._world
        chance = Chance(draw=world.random.random, lane_of=_lane_of, stopwatch=world.clock.monotonic)
        return StandIns(clock=world.clock, chance=chance, meddle=partial(self._meddle, service.name))

    def _meddle(self, service: str, route: Route) -> None:
        once = self._stage.guarantees[service].get(route.name) == "effectively_once"
        Meddling(self.seat, self._stage.watch, service, route, once=once)

    def drain(self) -> None:
        """Begin to stop the process in order."""
        self._world.trace.note(f"{self} drains")
        self.is_up = False
        self._changing = asyncio.get_running_loop().create_task(self._drain(), context=self._context)

    async def _drain(self) -> None:
        try:
            await self._stop_all()
        finally:
            self._changing = None
        self._world.trace.note(f"{self} has drained")
        for run in self._stage.watch.running:
            if run.seat is self.seat:
                self._world.trace.fail(f"{run} still runs after the drain of its process")

    async def stop(self) -> None:
        """Drain, and return when that is done."""
        if self.is_up:
            self.drain()
        while self._changing is not None:
            await asyncio.wait([self._changing])

    async def _stop_all(self) -> None:
        for service in self.services:
            await service.stop()

    async def crash(self) -> None:
        """End the process where it stands. Its groups do not know yet."""
        self._world.trace.note(f"{self} crashes")
        self.seat.is_dead, self.is_up = True, False
        changing = () if self._changing is None else (self._changing,)
        await canceled([*self._tasks, *changing])
        self._changing = None
        self._world.trace.note(f"{self} is dead")

    def check(self) -> None:
        """None of its services stopped by itself."""
        for service in self.services if self.is_up else ():
            if service.health.state == "failed":
                self._world.trace.fail(f"{self}: {service.name} stopped by itself: {_failure_of(service)!r}")

    async def is_at_rest(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.is_up and all([await service.caught_up() for service in self.services])


def _failure_of(service: Service) -> Exception | None:
    try:
        at_once(service.wait())
    except Exception as error:  # noqa: BLE001 - it is told, whatever it is
        return error
    return None


def _lane_of(value: object) -> int:
    """The same in every process of this machine, unlike `hash`."""
    return crc32(repr(value).encode())
