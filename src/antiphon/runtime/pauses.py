"""What waits in hand, since its partition or its topic is stopped, and how it goes on in its order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import takewhile
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
    """Partitions paused at a message newer than the code, or because their topic is stopped: what was fetched of them
    waits in memory, others flow.

    Newer messages are tried again after a while; a process with newer code takes them over in a rolling deploy.
    Memory stays bounded because nothing more is fetched from a paused partition. What is held takes room of its own,
    as much again as the rest has, so that the others go on.
    """

    def __init__(self, clock: Clock, pausing: Pausing) -> None:
        self._clock, self._pausing = clock, pausing
        self.again: Callable[[Sequence[Work]], None] = lambda works: None
        self.held: dict[Partition, dict[int, Work]] = {}
        self._newer: dict[Partition, timedelta] = {}
        """Partitions that wait for newer code, and how long they wait the next time."""
        self._wait_for_newer: set[Partition] = set()
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
        self._wait_for_newer.add(partition)
        if first:
            self._pausing.pause([partition])
            delay = self._newer.get(partition, FIRST_WAIT)
            self._newer[partition] = min(delay * 2, LONGEST_WAIT)
            self._timers[partition] = asyncio.create_task(self._resume_after(partition, delay))
            log.warning("%s/%d is paused for %s: %s", *partition, delay, error)
        self.hold(work)
        return first

    def hold(self, work: Work) -> None:
        """Hold a work, and with it whatever follows in its partition, until its topic is released."""
        self.held.setdefault(work.delivery.partition, {})[id(work.delivery)] = work

    def hold_behind(self, works: Sequence[Work]) -> bool:
        """Hold `works` too when their partition waits; says whether it does."""
        if not self.held or works[0].delivery.partition not in self.held:
            return False
        self.held[works[0].delivery.partition].update((id(work.delivery), work) for work in works)
        return True

    def lets_pass(self, work: Work) -> bool:
        """Whether one that was let in goes on although its partition waits: not for newer code, nor before its key."""
        delivery, held = work.delivery, self.held[work.delivery.partition]
        if delivery.partition in self._wait_for_newer:
            return False
        before = takewhile(lambda each: each is not delivery, self._pausing.waiting(delivery.partition))
        return not any(id(each) in held and each.message.key == delivery.message.key for each in before)

    def release(self, topic: str) -> None:
        """Let what is held of this topic go on, unless it waits for newer code. Twice is safe."""
        for partition in self.held:
            if partition.topic == topic and partition not in self._timers:
                self._timers[partition] = asyncio.create_task(self._resume_after(partition, timedelta()))

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop what another process owns now."""
        for partition in partitions:
            self.held.pop(partition, None)
            self._newer.pop(partition, None)
            self._wait_for_newer.discard(partition)
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
        self._wait_for_newer.discard(partition)
        del self.held[partition]
        self.again([held[each] for each in waiting])
        self._pausing.resume([partition])
