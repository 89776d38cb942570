"""How deliveries of one key stay in order while different keys run side by side."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from antiphon.events.clock import Clock
from antiphon.runtime.route import Mode
from antiphon.runtime.suspicion import Suspicion
from antiphon.runtime.window import RELEASED
from antiphon.runtime.work import Work, live

log = logging.getLogger("antiphon.runtime")


class Executor(Protocol):
    """Runs works of one mode in order; returns when each is finished, handed on, set aside, held or lost."""

    async def run(self, works: Sequence[Work]) -> None: ...


class Lane:
    """A line of works that run one after another, in runs that an executor can take whole."""

    __slots__ = ("busy", "company", "last", "news", "running", "runs")

    def __init__(self) -> None:
        self.runs: deque[list[Work]] = deque()
        self.news = asyncio.Event()
        self.busy = False
        self.running: Sequence[Work] = ()
        self.last: list[Work] = []
        """The run that works of the same company may join; one that was taken may not be joined."""
        self.company: object = None

    def begin(self, work: Work) -> None:
        """Begin a run with `work`."""
        self.last = [work]
        self.company = work.route.company
        self.runs.append(self.last)
        self.news.set()

    def take(self) -> list[Work]:
        """The first run, out of the line."""
        run = self.runs.popleft()
        if not self.runs:
            self.company = None
        return run


class Lanes:
    """A fixed number of lanes; the key decides which. One task each, for the life of the service."""

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
        self._draining = False

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin; `failed` is called when a lane ends by a fault of the runtime's own."""
        for lane in self._lanes:
            task = asyncio.create_task(self._run(lane))
            task.add_done_callback(lambda task: None if task.cancelled() or not (e := task.exception()) else failed(e))
            self._tasks.append(task)

    def dispatch(self, works: Sequence[Work]) -> None:
        """Put each into the lane of its key, joining the last run where it can, and wake the lanes."""
        lanes, count, lane_of = self._lanes, self._count, self._lane_of
        for work in works:
            route, key = work.route, work.delivery.message.key
            lane = lanes[lane_of(key) % count] if key is not None and route.by_key else self._lane_apart(work)
            if route.company is lane.company:
                lane.last.append(work)
            else:
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
            lane.news.set()
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
        lanes = [lane for task, lane in zip(self._tasks, self._lanes, strict=True) if task in tasks]
        return [work for lane in lanes for work in lane.running]

    def idle(self) -> bool:
        """Whether no lane has anything to do."""
        return not any(lane.busy or lane.runs for lane in self._lanes)

    async def _gather(self, lane: Lane) -> None:
        """Let a batch fill: at most once, for at most its longest wait, and not when more is there or a drain began."""
        route, first = lane.runs[0][0].route, lane.runs[0]
        if route.batch_size is None or not route.batch_wait or self._draining:
            return
        if len(lane.runs) == 1 and len(first) < route.batch_size:
            await self._clock.sleep(route.batch_wait)

    async def _run_works(self, works: Sequence[Work]) -> None:
        mode = works[0].route.mode
        executor, suspicion = self._executors[mode], self._suspicion
        if not suspicion.careful or mode is Mode.SHARED:  # which watches its transactions itself
            await executor.run(works)
            return
        for part in suspicion.parts(works):
            async with suspicion.watched(part):
                await executor.run(part)

    async def _run(self, lane: Lane) -> None:
        while True:
            while lane.runs:
                lane.busy = True
                await self._gather(lane)
                works = lane.running = lane.take() if lane.runs else ()
                if works:
                    await self._run_works(works)
            lane.busy, lane.running = False, ()
            if self._draining:
                return
            lane.news.clear()
            await lane.news.wait()


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
