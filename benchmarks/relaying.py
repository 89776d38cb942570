"""How ours relays in the measurements of the relay alone: what is staged, and a relay until so many are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from resource import getpagesize
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

from antiphon import connect
from antiphon.errors import ConnectionLostError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.storage.database import Database
from antiphon.storage.outbox import stage
from antiphon.storage.set_aside import SetAside
from benchmarks.filling import messages

BATCH = 5_000


class Counting:
    """A `RelayWitness` that tells when `count` are sent; they have left the outbox then, too."""

    def __init__(self, count: int) -> None:
        self._count, self.seen = count, 0
        self.reached = asyncio.Event()

    async def wait_for(self, count: int) -> int:
        """Return once `count` are sent, and how many are by now."""
        self._count = count
        if self.seen < count:
            self.reached.clear()
            await self.reached.wait()
        return self.seen

    def sent(self, outgoing: Sequence[Outgoing]) -> None:
        self.seen += len(outgoing)
        if self.seen >= self._count:
            self.reached.set()

    def failed(self, topics: Sequence[str], error: BaseException) -> None:
        raise SystemExit(f"{len(topics)} were not published: {error}")

    def parked(self, item: SetAside) -> None:
        raise SystemExit(f"{item.message.id} was refused: {item.reason}")


class Sample(NamedTuple):
    """What a relay did while it was watched."""

    sent: int
    seconds: float
    grew: float
    """Megabytes."""
    held: int
    """What the log has of everything that was sent."""


async def stage_orders(store: Database, count: int) -> None:
    """Put `count` orders into the outbox; preparation, not measured."""
    left = messages(count)
    while batch := list(islice(left, BATCH)):
        async with store.transaction() as tx:
            await stage(tx, batch, SystemClock().now())


async def relay(store: Database, count: int, warm_up: int = 0) -> Sample:
    """Relay into a new log, and watch `count` messages or some more after the first `warm_up`; then stop at once."""
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        await broker.open()
        is_over = False

        async def publish(outgoing: Sequence[Outgoing]) -> None:
            if is_over:
                raise ConnectionLostError("the sample is complete")  # a relay would drain the rest, however long
            await broker.publish(outgoing)

        witness = Counting(warm_up or count)
        relay = Relay(publish, store, SystemClock(), Metrics(), witness)
        started, first, before = perf_counter(), 0, resident()
        await relay.start()
        if warm_up:
            first = await witness.wait_for(warm_up)
            started, before = perf_counter(), resident()
        last = await witness.wait_for(first + count)
        seconds, grew, is_over = perf_counter() - started, resident() - before, True
        await relay.drain()
        held = sum(topic.messages for topic in await broker.topics())
        await broker.close()
    return Sample(last - first, seconds, grew, held)


def resident() -> float:
    """The megabytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * getpagesize() / 1_000_000
