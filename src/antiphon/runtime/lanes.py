"""How deliveries of one key stay in order while different keys run side by side."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from antiphon.errors import HandlingError
from antiphon.events.clock import Clock
from antiphon.runtime.route import Mode
from antiphon.runtime.suspicion import Suspicion
from antiphon.runtime.window import RELEASED
from antiphon.runtime.work import Work, live

log = logging.getLogger("antiphon.runtime")


More = Callable[[], Sequence[Work]]
"""Called once a run is done: the next one that is ready for the same handler, of any lane; empty when there is none."""


class Executor(Protocol):
    """Runs works of one mode in order; returns when each is finished, handed on, set aside, held or lost."""

    async def run(self, works: Sequence[Work], more: More, /) -> None: ...


_NO_RUN: list[Work] = []
"""Which nothing joins."""


class Lane:
    """A line of works that run one after another, in runs that an executor can take whole."""

    __slots__ = ("busy", "company", "last", "running", "runs")

    def __init__(self) -> None:
        self.runs: deque[list[Work]] = deque()
        self.busy = False
        self.running: Sequence[Work] = ()
        self.last: list[Work] = _NO_RUN
        """The run that works of the same company may join; one that was taken may not be joined."""
        self.company: object = None

    def begin(self, work: Work) -> None:
        """Begin a run with `work`."""
        self.last = [work]
        self.company = work.route.company
        self.runs.append(self.last)

    def take(self) -> list[Work]:
        """The first run, out of the line."""
        run = self.runs.popleft()
        if not self.runs:
            self.last, self.company = _NO_RUN, None
        return run

    def leave(self) -> None:
        """Nobody is at it any more."""
        self.busy, self.running = False, ()


class Lanes:
    """A fixed number of lanes; the key decides which.

    There are as many tasks as lanes, for the life of the service, and no lane has one of its own. The task that is
    awake takes lane after lane. Before each it calls another one, which takes over should it have to wait. So handlers
    that never wait cost one waking, however many lanes their messages are in.
    """

    def __init__(
        self,
        count: int,
        executors: Mapping[Mode, Executor],
        suspicion: Suspicion,
        clock: Clock,
        lane_of: Callable[[object], int] = hash,
    ) -> None:
        self._lanes = [Lane() for _ in range(count)]
        self._executors = executors
        self._suspicion, self._clock, self._lane_of = suspicion, clock, lane_of
        self._count = count
        self._next = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._held = [_NO_LANE] * count
        """The lane that each task is at."""
        self._ready: deque[Lane] = deque()
        """Lanes that no task is at, though they have something to do."""
        self._asleep: list[asyncio.Future[None]] = []
        self._is_called = self._draining = False
        self.is_ending: Callable[[], bool] = lambda: False
        """Whether all tasks are canceled, as at the end of the event loop."""

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin; `failed` is called when a task ends by a fault of the runtime's own, or since it was canceled."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                if (error := task.exception()) is not None:
                    failed(error)
            elif not (self._draining or self.is_ending()):
                failed(HandlingError("a task was canceled that handlers run in, when none of them was at work"))

        for number in range(self._count):
            task = asyncio.create_task(self._work(number))
            task.add_done_callback(ended)
            self._tasks.append(task)

    def dispatch(self, works: Sequence[Work]) -> None:
        """Put each into the lane of its key, joining the last run where it can, and see that somebody is awake."""
        lanes, count, lane_of = self._lanes, self._count, self._lane_of
        for work in works:
            route, key = work.route, work.delivery.message.key
            lane = lanes[lane_of(key) % count] if key is not None and route.by_key else self._lane_apart(work)
            if route.company is lane.company:
                lane.last.append(work)
            else:
                self._begin(lane, work)
        if self._ready:
            self._call()

    def _begin(self, lane: Lane, work: Work) -> None:
        if not lane.runs and not lane.busy:
            self._ready.append(lane)
        lane.begin(work)

    def _lane_apart(self, work: Work) -> Lane:
        """The lane of a work that its key does not decide."""
        if work.route.by_partition:
            return self._lanes[self._lane_of(work.delivery.partition) % self._count]
        self._next += 1
        return self._lanes[self._next % self._count]

    async def drain(self, patience: float) -> int:
        """Finish what runs, for at most `patience` seconds, then cancel it; returns how many were not finished.

        What does not let itself be canceled for as long again is left behind.
        """
        self._draining = True
        unfinished = sum(len(run) for lane in self._lanes for run in lane.runs)
        for lane in self._lanes:
            lane.runs.clear()
            lane.company = None
        self._ready.clear()
        while self._asleep:
            _wake(self._asleep.pop())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
            running = [task for task in self._tasks if not task.done()]
            unfinished += len(running)
            self._release(running)
            if stubborn := await cancel(running, patience):
                warn_of_stubborn({work.route.name for work in self._works_of(stubborn)})
        return unfinished

    def _release(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """What these have in hand counts no more, whatever their handlers make of being canceled."""
        for work in live(self._works_of(tasks)):
            work.delivery.state = RELEASED

    def _works_of(self, tasks: Collection[asyncio.Task[None]]) -> list[Work]:
        held = [lane for task, lane in zip(self._tasks, self._held, strict=True) if task in tasks]
        return [work for lane in held for work in lane.running]

    def idle(self) -> bool:
        """Whether no lane has anything to do."""
        return not any(lane.busy or lane.runs for lane in self._lanes)

    async def _gather(self, lane: Lane) -> None:
        """Let a batch fill: at most once, for at most its longest wait, and not when more is there or a drain began."""
        route, first = lane.runs[0][0].route, lane.runs[0]
        if route.batch_size is None or not route.batch_wait or self._draining:
            return
        if len(lane.runs) == 1 and len(first) < route.batch_size:
            await self._wait(self._clock.sleep(route.batch_wait))

    async def _wait(self, until: Awaitable[None]) -> None:
        """Wait, though no longer where the task is canceled late, for what a handler did in it before.

        Older libraries cancel a task for a timeout and never take that back; handlers of all keys share the tasks.
        """
        try:
            await until
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or self._draining or self.is_ending():
                raise
            while task.cancelling():
                task.uncancel()

    async def _work(self, number: int) -> None:
        more = partial(self._more, number)
        while True:
            while self._ready:
                self._enter(number)
                await self._run(number, more)
            self._held[number] = _NO_LANE
            if self._draining:
                return
            self._asleep.append(call := asyncio.get_running_loop().create_future())
            await self._wait(call)
            if call.cancelled():
                self._asleep.remove(call)
            else:
                self._is_called = False

    def _enter(self, number: int) -> None:
        """Be at the lane that is ready for longest, and let somebody else see to the others."""
        lane = self._held[number] = self._ready.popleft()
        lane.busy = True
        if self._ready:
            self._call()

    def _call(self) -> None:
        """Wake a task, unless one is on its way. While a lane is ready, one is, or sleeps, or comes by."""
        if self._asleep and not self._is_called:
            self._is_called = True
            _wake(self._asleep.pop())

    async def _run(self, number: int, more: More) -> None:
        """Run what is in the lane that a task is at, and what comes meanwhile."""
        lane = self._held[number]
        while lane.runs:
            await self._gather(lane)
            works = lane.running = lane.take() if lane.runs else ()
            if works:
                await self._run_works(works, more)
                lane = self._held[number]
        lane.leave()

    async def _run_works(self, works: Sequence[Work], more: More) -> None:
        mode = works[0].route.mode
        executor, suspicion = self._executors[mode], self._suspicion
        if not suspicion.careful or mode is Mode.SHARED:  # which watches its transactions itself
            await executor.run(works, more)
            return
        for part in suspicion.parts(works):
            async with suspicion.watched(part):
                await executor.run(part, _no_more)

    def _more(self, number: int) -> Sequence[Work]:
        lane = self._held[number]
        route = lane.running[0].route
        ahead = lane if lane.runs else self._ready[0] if self._ready else _NO_LANE
        if not ahead.runs or ahead.runs[0][0].route is not route or self._suspicion.careful:
            return ()
        if ahead is not lane:
            lane.leave()
            self._enter(number)
        works = ahead.running = ahead.take()
        return works


_NO_LANE = Lane()
"""Where a task is that is at none."""


def _no_more() -> Sequence[Work]:
    return ()


def _wake(call: asyncio.Future[None]) -> None:
    if not call.done():  # else its task was canceled
        call.set_result(None)


async def cancel(tasks: Collection[asyncio.Task[None]], patience: float) -> Collection[asyncio.Task[None]]:
    """Cancel these and return once they have ended; after `patience` seconds those that have not."""
    for task in tasks:
        task.cancel()
    return (await asyncio.wait(tasks, timeout=patience))[1] if tasks else ()


def warn_of_stubborn(handlers: Collection[str]) -> None:
    """Say who did not end when it was canceled."""
    log.error(
        "%s cannot be canceled and is left behind: it catches CancelledError and goes on; let it raise",
        ", ".join(sorted(handlers)),
    )
