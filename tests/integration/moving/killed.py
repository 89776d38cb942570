"""A move that is killed after so many of its writes, whatever they are; half a batch is one, too."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from antiphon import connect
from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.events.message import Outgoing
from antiphon.moving import move, reading
from antiphon.moving.move import Moving
from antiphon.moving.progress import ProgressFile
from antiphon.moving.survey import Choice


class Writes:
    """Counts writes, and kills the process after one of them."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: Any, name: str) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return
        if asyncio.iscoroutinefunction(original):
            setattr(owner, name, self._awaited(original))
        else:

            def save(*arguments: Any) -> None:
                original(*arguments)
                self.count()

            setattr(owner, name, save)

    def _awaited(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def write(*arguments: Any) -> Any:
            found = await original(*arguments)
            self.count()
            return found

        return write

    def watch_publish(self, broker: Any) -> None:
        original = broker.publish

        async def publish(outgoing: Sequence[Outgoing]) -> None:
            half = len(outgoing) // 2
            for part in (outgoing[:half], outgoing[half:]):
                await original(part)
                self.count()

        broker.publish = publish


async def _move(source: Broker, target: Broker, file: ProgressFile, writes: Writes) -> None:
    await source.open()
    await target.open()
    for name in ("ensure_topic", "seek", "empty", "fill"):
        writes.watch(target, name)
    writes.watch(source, "seek")
    writes.watch_publish(target)
    writes.watch(file, "save")
    writes.watch(move, "relocate")
    assert isinstance(source, StoreBroker)
    await Moving(source, target, [source.database], file, Choice(watch=timedelta())).run()
    await target.close()
    await source.close()


def run(source: str, target: str, progress: str, fatal: int) -> None:
    """Move, and die by SIGKILL after that many writes; with 0 to the end."""
    reading.AT_ONCE = 16
    asyncio.run(_move(connect(source), connect(target), ProgressFile(Path(progress)), Writes(fatal)))
