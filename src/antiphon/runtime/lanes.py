"""How deliveries of one key stay in order while different keys run side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from antiphon.events.clock import Clock
from antiphon.runtime.route import Mode
from antiphon.runtime.stalls import Stalls
from antiphon.runtime.work import Work

LONGEST_RUN = 500
"""The most works that are handed to an executor at once."""


class Executor(Protocol):
    """Runs works of one mode in order; returns when each is finished, handed on, parked, stalled or lost."""

    async def run(self, works: Sequence[Work]) -> None: ...


class Lane:
    """A line of works that run one after another, in runs that an executor can take whole."""

    __slots__ = ("busy", "company", "news", "runs")

    def __init__(self) -> None:
        self.runs: deque[list[Work]] = deque()
        self.news = asyncio.Event()
        self.busy = False
        self.company: object = None
        """What the last run's works have in common, while more may join it."""

    def put(self, work: Work) -> None:
        """Join the last run where that is of the same company and not full, else begin one."""
        company = work.route.company
        runs = self.runs
        if company is self.company and runs and len(run := runs[-1]) < LONGEST_RUN:
            run.append(work)
        else:
            self.company = company
            runs.append([work])


class Lanes:
    """A fixed number of lanes; the key decides which. One task each, for the life of the service."""

    def __init__(self, count: int, executors: Mapping[Mode, Executor], stalls: Stalls, clock: Clock) -> None:
        self._lanes = [Lane() for _ in range(count)]
        self._executors = executors
        self._stalls, self._clock = stalls, clock
        self._count = count
        self._next = 0
        self._lane_of = self._one if count == 1 else self._by_key
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin; `failed` is called when a lane ends by a fault of the runtime's own."""
        for lane in self._lanes:
            task = asyncio.create_task(self._run(lane))
            task.add_done_callback(lambda task: None if task.cancelled() or not (e := task.exception()) else failed(e))
            self._tasks.append(task)

    def dispatch(self, works: Sequence[Work]) -> None:
        """Put each into the lane of its key, and wake the lanes."""
        lane_of = self._lane_of
        for work in works:
            lane = lane_of(work)
            if not lane.runs:
                lane.news.set()
            lane.put(work)

    def _one(self, work: Work) -> Lane:
        return self._lanes[0]

    def _by_key(self, work: Work) -> Lane:
        key, route = work.delivery.message.key, work.route
        if route.by_partition:
            return self._lanes[hash(work.delivery.partition) % self._count]
        if key is None or not route.ordered:
            self._next += 1
            return self._lanes[self._next % self._count]
        return self._lanes[hash(key) % self._count]

    async def drain(self, patience: float) -> int:
        """Finish what runs, for at most `patience` seconds, then cancel it; returns how many were not finished."""
        self._draining = True
        unfinished = sum(len(run) for lane in self._lanes for run in lane.runs)
        for lane in self._lanes:
            lane.runs.clear()
            lane.news.set()
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=patience)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            unfinished += len(running)
        return unfinished

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

    async def _run(self, lane: Lane) -> None:
        while True:
            while lane.runs:
                lane.busy = True
                await self._gather(lane)
                works = self._stalls.without(lane.runs.popleft()) if lane.runs else ()
                if works:
                    await self._executors[works[0].route.mode].run(works)
            lane.busy = False
            if self._draining:
                return
            lane.news.clear()
            await lane.news.wait()
