"""How does one service of the shop run in a process of its own? `python -m examples.shop.process NAME SCOREBOARD`.

Its broker is the setting ANTIPHON_BROKER; its store is ANTIPHON_STORE, else the broker's own. It prints a line when it
is ready and then, now and then, how long events took; what it counts is on its scoreboard. It drains when it is told to
(SIGTERM), or when whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from time import time

import msgspec

from antiphon import Delivery, Service, run
from antiphon.observability import names
from antiphon.observability.hooks import Handled
from antiphon.observability.metrics import Counter
from examples.shop.reports import Scoreboard

READY = b"ready\n"
TELL_EVERY = 0.05


class Reporter:
    """Carried by a service, around its handlers: counts and times what they do."""

    name = "reporter"

    def __init__(self, service: Service, scoreboard: Scoreboard) -> None:
        self._metrics, self._scoreboard = service.metrics, scoreboard
        self._edges: list[int] = []
        self._consumed: list[Counter] = []
        self._handled = self._duplicates = 0
        self._telling: asyncio.Task[None] | None = None
        service.hooks.handled.watch(self._note)
        service.use(self._around)

    async def _around(self, delivery: Delivery, call_next: Callable[[], Awaitable[object]]) -> object:
        """Count before the handler runs: a kill in the middle of it is what the scoreboard is for."""
        self._put_up()
        return await call_next()

    def _note(self, handled: Handled) -> None:
        self._handled += 1
        self._edges.append(int((time() - handled.message.time.timestamp()) * 1_000_000))
        self._put_up()

    def _put_up(self) -> None:
        self._scoreboard.write(sum(each.value for each in self._consumed), self._handled, self._duplicates)

    def _count(self) -> None:
        """Find the counters, which the runtime makes as it goes, and put up what they say."""
        counters = [each for each in self._metrics.instruments() if isinstance(each, Counter)]
        self._consumed = [each for each in counters if each.definition is names.CONSUMED]
        self._duplicates = sum(each.value for each in counters if each.definition is names.DUPLICATES)
        self._put_up()

    async def start(self) -> None:
        """The service is ready: say so, and go on telling."""
        sys.stdout.buffer.write(READY)
        self._telling = asyncio.create_task(self._tell_on())
        # Nothing is ever written to it: it becomes readable once the other end is gone.
        asyncio.get_running_loop().add_reader(sys.stdin, os.kill, os.getpid(), signal.SIGTERM)

    async def _tell_on(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(TELL_EVERY)

    def _tell(self) -> None:
        self._count()
        edges, self._edges = self._edges, []
        sys.stdout.buffer.write(msgspec.json.encode(edges) + b"\n")
        sys.stdout.flush()

    async def drain(self) -> None:
        """Tell the last. Twice is safe."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
            asyncio.get_running_loop().remove_reader(sys.stdin)
            self._tell()

    def status(self) -> Mapping[str, str | int | float | bool]:
        return {"handled": self._handled}


def service_named(name: str) -> Service:
    """The service that `examples.shop.<name>.service` declares."""
    found = getattr(import_module(f"examples.shop.{name}.service"), name)
    assert isinstance(found, Service)
    return found


def main() -> None:
    name, scoreboard = sys.argv[1:]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    service = service_named(name)
    service.carry(Reporter(service, Scoreboard(Path(scoreboard))))
    run(service)


if __name__ == "__main__":
    main()
