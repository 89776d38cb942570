"""How are the services' processes started, watched, killed and brought back?"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import msgspec

from examples.shop.process import READY
from examples.shop.reports import Counts, Scoreboard, total

SERVICES = ("orders", "payments", "inventory", "shipping", "notifications", "analytics")
BROKER_SETTING, STORE_SETTING = "ANTIPHON_BROKER", "ANTIPHON_STORE"
START_SECONDS = 60
IDLE_SECONDS = 12
"""A process that has handled nothing for so long has nothing to do: leases end before that."""
LONGEST_LINE = 4 * 1024 * 1024

ROOT = Path(__file__).parent.parent.parent


class ServiceFailedError(Exception):
    """A service's process ended by itself; the text holds the end of what it wrote."""


class Running:
    """One process of a service."""

    def __init__(self, service: str, process: asyncio.subprocess.Process, scoreboard: Scoreboard) -> None:
        self.service, self.process, self.scoreboard = service, process, scoreboard
        self.ready = asyncio.Event()
        self.since = perf_counter()
        self.killed = False

    @property
    def is_up(self) -> bool:
        return self.ready.is_set() and not self.killed

    @property
    def is_at_work(self) -> bool:
        """Whether it has handled something, or found nothing to do: a new one may wait for what a killed one holds."""
        idle = perf_counter() - self.since > IDLE_SECONDS
        return self.is_up and (idle or self.scoreboard.read().handled > 0)

    async def listen(self, edges: list[int]) -> None:
        """Take what it tells until it ends, and add to `edges`."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line == READY:
                self.ready.set()
            elif line.endswith(b"\n"):
                edges += msgspec.json.decode(line, type=list[int])


class Processes:
    """All processes of the shop. What is killed comes back by itself; what fails by itself stops the demo."""

    def __init__(self, url: str, folder: Path, workers: Mapping[str, int], stores: Mapping[str, str]) -> None:
        self._url, self._folder = url, folder
        self._workers, self._stores = workers, stores
        self._tasks: set[asyncio.Task[None]] = set()
        self._past = Counts()
        self._started = 0
        self._stopping = False
        self._edges: list[int] = []
        self.running: list[Running] = []
        self.kills: Counter[str] = Counter()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Start them all; returns when each is ready. Raises ServiceFailedError."""
        for service in SERVICES:
            for _ in range(self._workers.get(service, 1)):
                await self._spawn(service)
        began = perf_counter()
        while late := [running.service for running in self.running if not running.ready.is_set()]:
            if self.failure.done():
                self.failure.result()
            if perf_counter() - began > START_SECONDS:
                raise ServiceFailedError(f"not ready after {START_SECONDS} s: {', '.join(late)}")
            await asyncio.sleep(0.01)

    async def _spawn(self, service: str) -> None:
        self._started += 1
        scoreboard = self._folder / f"{service}-{self._started}.counts"
        board = Scoreboard(scoreboard)
        command = [sys.executable, "-m", "examples.shop.process", service, str(scoreboard)]
        with self._log(service).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=self._environment(service),
                limit=LONGEST_LINE,
                start_new_session=True,
            )
        running = Running(service, process, board)
        self.running.append(running)
        task = asyncio.create_task(self._watch(running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _environment(self, service: str) -> dict[str, str]:
        """URLs go this way, since everyone may read the words of a command, and they may hold passwords."""
        inherited = {name: value for name, value in os.environ.items() if name != STORE_SETTING}
        store = {STORE_SETTING: self._stores[service]} if service in self._stores else {}
        return {**inherited, BROKER_SETTING: self._url, **store}

    async def _watch(self, running: Running) -> None:
        await running.listen(self._edges)
        code = await running.process.wait()
        self.running.remove(running)
        self._past = total([self._past, running.scoreboard.read()])
        if self._stopping:
            return
        if running.killed:
            await self._spawn(running.service)
        elif not self.failure.done():
            self.failure.set_exception(ServiceFailedError(self._last_words(running.service, code)))

    def _log(self, service: str) -> Path:
        return self._folder / f"{service}.log"

    def _last_words(self, service: str, code: int) -> str:
        written = self._log(service).read_text("utf-8", "replace").strip().splitlines()[-12:]
        return "\n".join([f"the process of {service!r} ended by itself with exit code {code}; it wrote:", *written])

    def up(self) -> list[str]:
        """The services that have a process which is up."""
        return [service for service in SERVICES if any(each.is_up for each in self._of(service))]

    def killable(self) -> list[str]:
        """The services that have a process which is at work."""
        return [service for service in SERVICES if any(each.is_at_work for each in self._of(service))]

    def kill(self, service: str) -> None:
        """SIGKILL one process of a service that is at work, whatever it is doing: the one that was up longest."""
        chosen = next(each for each in self._of(service) if each.is_at_work)
        chosen.killed = True
        os.kill(chosen.process.pid, signal.SIGKILL)
        self.kills[service] += 1

    def _of(self, service: str) -> Iterator[Running]:
        return (each for each in self.running if each.service == service)

    def totals(self) -> Counts:
        """What all processes did so far, those included that are gone."""
        return total([self._past, *(running.scoreboard.read() for running in self.running)])

    def take_edges(self) -> list[int]:
        """Microseconds from publishing to handled, of everything handled since the last call."""
        taken = self._edges[:]
        self._edges.clear()
        return taken

    async def stop(self, patience: float = 20.0) -> None:
        """Tell all to stop, wait, and kill what does not listen. Twice is safe."""
        self._stopping = True
        for running in self.running:
            if running.process.returncode is None:
                running.process.terminate()
        tasks: Sequence[asyncio.Task[None]] = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for running in list(self.running):
            if running.process.returncode is None:
                running.process.kill()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.failure.done():
            self.failure.exception()
