"""Which partitions wait because a message is newer than the code, and what waits with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import NewerVersionError
from antiphon.events.clock import Clock
from antiphon.runtime.work import Work

log = logging.getLogger("antiphon.runtime")

FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(seconds=60)
_LANE_CHECK = timedelta(milliseconds=50)
"""Between two looks whether the lanes brought all that they had of a partition: sent back before, it is overtaken."""


class Pausing(Protocol):
    """What can stop the flow of partitions and let it go on, and knows the order in which deliveries came."""

    def pause(self, partitions: Sequence[Partition]) -> None: ...

    def resume(self, partitions: Sequence[Partition]) -> None: ...

    def waiting(self, partition: Partition) -> Sequence[Delivery]:
        """What was fetched from it and is not finished, in order of arrival."""
        ...


class Pauses:
    """Partitions paused at a message newer than the code: it and what follows it wait in memory, others flow.

    After a while the held works are tried again; a process with newer code takes them over in a rolling deploy.
    Memory stays bounded because nothing more is fetched from a paused partition. What is held takes room of its own,
    as much again as the rest has, so that the others go on.
    """

    def __init__(self, clock: Clock, pausing: Pausing) -> None:
        self._clock, self._pausing = clock, pausing
        self.again: Callable[[Sequence[Work]], None] = lambda works: None
        self.held: dict[Partition, dict[int, Work]] = {}
        self._delays: dict[Partition, timedelta] = {}
        self._timers: dict[Partition, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self.held)

    def partitions(self) -> tuple[Partition, ...]:
        return tuple(self.held)

    def extent(self) -> tuple[int, int]:
        """How many messages are held, and how many bytes their data has."""
        works = [work for held in self.held.values() for work in held.values()]
        return len(works), sum(len(work.delivery.message.data or b"") for work in works)

    def pause(self, work: Work, error: NewerVersionError) -> bool:
        """Pause the partition of `work` and hold it; true when it was not paused before."""
        partition = work.delivery.partition
        first = partition not in self.held
        if first:
            self._pausing.pause([partition])
            delay = self._delays.get(partition, FIRST_WAIT)
            self._delays[partition] = min(delay * 2, LONGEST_WAIT)
            self._timers[partition] = asyncio.create_task(self._resume_after(partition, delay))
            log.warning("%s/%d is paused for %s: %s", *partition, delay, error)
        self.held.setdefault(partition, {})[id(work.delivery)] = work
        return first

    def hold_behind(self, works: Sequence[Work]) -> bool:
        """Hold `works` too when their partition waits; says whether it does."""
        if not self.held or works[0].delivery.partition not in self.held:
            return False
        self.held[works[0].delivery.partition].update((id(work.delivery), work) for work in works)
        return True

    def without(self, works: Sequence[Work]) -> Sequence[Work]:
        """`works` without those whose partition waits; those are held."""
        if not self.held:
            return works
        return [work for work in works if not self.hold_behind([work])]

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop what another process owns now."""
        for partition in partitions:
            self.held.pop(partition, None)
            self._delays.pop(partition, None)
            timer = self._timers.pop(partition, None)
            if timer is not None:
                timer.cancel()

    def stop(self) -> None:
        """Drop every timer; what is held stays unsettled."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _resume_after(self, partition: Partition, delay: timedelta) -> None:
        await self._clock.sleep(delay)
        held = self.held[partition]
        while not held.keys() >= set(waiting := [id(each) for each in self._pausing.waiting(partition)]):
            await self._clock.sleep(_LANE_CHECK)
        self._timers.pop(partition, None)
        del self.held[partition]
        self.again([held[each] for each in waiting])
        self._pausing.resume([partition])
