"""How deliveries of one key stay in order while different keys run side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from antiphon.runtime.route import Mode
from antiphon.runtime.stalls import Stalls
from antiphon.runtime.work import Work

LONGEST_RUN = 500


class Executor(Protocol):
    """Runs works of one mode in order; returns when each is finished, handed on, parked, stalled or lost."""

    async def run(self, works: Sequence[Work]) -> None: ...


class Lane:
    """A line of works that run one after another."""

    __slots__ = ("busy", "news", "queue")

    def __init__(self) -> None:
        self.queue: deque[Work] = deque()
        self.news = asyncio.Event()
        self.busy = False

    def put(self, work: Work) -> None:
        self.queue.append(work)

    def take(self) -> list[Work]:
        """The first works that can run together: of one handler where it is called alone, else of one mode."""
        queue = self.queue
        first = queue.popleft()
        run = [first]
        route, mode = first.route, first.route.mode
        together = mode in (Mode.SHARED, Mode.OWN)
        while queue and len(run) < LONGEST_RUN:
            following = queue[0].route
            if following is not route and not (together and following.mode is mode):
                break
            run.append(queue.popleft())
        return run


class Lanes:
    """A fixed number of lanes; the key decides which. One task each, for the life of the service."""

    def __init__(self, count: int, executors: Mapping[Mode, Executor], stalls: Stalls) -> None:
        self._lanes = [Lane() for _ in range(count)]
        self._executors = executors
        self._stalls = stalls
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
        """Put each into the lane of its key, and wake the lanes."""
        lanes, count = self._lanes, len(self._lanes)
        touched: set[Lane] = set()
        for work in works:
            key = work.delivery.message.key
            if count == 1:
                lane = lanes[0]
            elif work.route.batch_size is not None:
                lane = lanes[hash(work.delivery.partition) % count]
            elif key is None or not work.route.ordered:
                self._next += 1
                lane = lanes[self._next % count]
            else:
                lane = lanes[hash(key) % count]
            lane.queue.append(work)
            touched.add(lane)
        for lane in touched:
            lane.news.set()

    async def drain(self, patience: float) -> int:
        """Finish what runs, for at most `patience` seconds, then cancel it; returns how many were not finished."""
        self._draining = True
        unfinished = sum(len(lane.queue) for lane in self._lanes)
        for lane in self._lanes:
            lane.queue.clear()
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
        return not any(lane.busy or lane.queue for lane in self._lanes)

    async def _run(self, lane: Lane) -> None:
        while True:
            while lane.queue:
                lane.busy = True
                works = self._stalls.without(lane.take())
                if works:
                    await self._executors[works[0].route.mode].run(works)
            lane.busy = False
            if self._draining:
                return
            lane.news.clear()
            await lane.news.wait()
