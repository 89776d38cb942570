"""Who publishes what was scheduled, once its moment has come?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from antiphon.brokers.ports import Broker
from antiphon.errors import AntiphonError, UsageError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.observability.repeats import RepeatLimit
from antiphon.outbox.due import HOLD, due_publishing, is_on
from antiphon.outbox.handover import Handover
from antiphon.storage.database import Database
from antiphon.storage.schedule import FIRST_PAUSE, LONGEST_PAUSE, backlog, next_due

log = logging.getLogger("antiphon.outbox")

LOOK_EVERY = timedelta(seconds=1)
"""How late is noticed what another process has scheduled."""
LOOK_SELDOM = timedelta(minutes=1)
"""The same, for a store that no other process can see."""
MEASURE_EVERY = timedelta(seconds=10)
PATIENCE = timedelta(seconds=10)
"""How long a drain waits for what is being published, in real time."""
_NEVER = datetime.max.replace(tzinfo=UTC)


class Witness(Protocol):
    """Is told what became of messages, to count them and to tell others."""

    def sent(self, outgoing: Sequence[Outgoing]) -> None:
        """The broker holds these now."""
        ...

    def failed(self, topics: Sequence[str], error: BaseException) -> None:
        """So many were not published, by the topic of each."""
        ...


class ScheduledPublishing:
    """A Runner that publishes what was scheduled on its store, by whichever service, when it is due.

    Many may run at once, in any number of processes. Those of one key that are due keep their order. What the broker
    refuses for good is marked with the reason and kept to be seen; what can pass is tried again after a pause.
    """

    name = "scheduled publishing"

    def __init__(
        self,
        broker: Broker,
        store: Database,
        clock: Clock,
        metrics: Metrics,
        witness: Witness,
        hold: timedelta = HOLD,
    ) -> None:
        self._store, self._clock, self._metrics, self._witness = store, clock, metrics, witness
        self._due = due_publishing(broker, store, clock, hold)
        is_private = not broker.capabilities.durable and is_on(broker, store)
        self._look_every = LOOK_SELDOM if is_private else LOOK_EVERY
        self._repeats = RepeatLimit(monotonic=clock.monotonic)
        self.patience = PATIENCE
        self.is_told: Callable[[BaseException], bool] = lambda error: False
        """Whether somebody else tells of this error, as of a store that is away."""
        self._bell = asyncio.Event()
        self._wakes_at: datetime | None = None
        """Until when it rests; None while it looks and publishes."""
        self._pause = timedelta()
        """How long the next look was put off, after a failure, until something is published."""
        self._is_put_off = False
        self._measured_at: float | None = None
        self._is_draining = False
        self._task: asyncio.Task[None] | None = None
        self._published = self._failed = 0

    async def start(self) -> None:
        """As `Runner.start`. Raises UsageError the second time, and StoreError when the schedule cannot be read."""
        if self._task is not None:
            raise UsageError(f"the {self.name} on {self._store.url} was started already: start each once")
        now = self._clock.now()
        self._wakes_at = min(await next_due(self._store, now) or _NEVER, now + self._look_every)
        self._task = asyncio.create_task(self._run(self._wakes_at), name=f"antiphon {self.name}")

    async def drain(self) -> None:
        """As `Runner.drain`. What is not published yet stays scheduled."""
        self._is_draining = True
        self._bell.set()
        if self._task is not None:
            ended, _ = await asyncio.wait({self._task}, timeout=self.patience.total_seconds())
            if not ended:
                self._task.cancel()
                await asyncio.wait({self._task})

    def ring(self, at: datetime) -> None:
        """Something was scheduled for that moment; called once that is committed. Cheap."""
        if self._wakes_at is None or (at < self._wakes_at and not self._is_put_off):
            self._bell.set()

    def is_at_rest(self) -> bool:
        """Whether nothing more happens before time passes."""
        if self._task is None or self._task.done():
            return True
        is_waiting = self._wakes_at is not None and self._clock.now() < self._wakes_at
        return is_waiting and not self._bell.is_set()

    def status(self) -> Mapping[str, str | int | float | bool]:
        """As `Runner.status`."""
        return {"published": self._published, "failed": self._failed, "is_waiting_for_broker": bool(self._pause)}

    async def _run(self, first: datetime) -> None:
        await self._rest_until(first)
        while not self._is_draining:
            self._bell.clear()
            self._wakes_at = None
            try:
                moment = await self._work_off()
                self._is_put_off = False
            except Exception as error:  # noqa: BLE001 - nobody waits for this task, so it would end in silence
                self._is_put_off = True
                self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
                moment = self._clock.now() + self._pause
                self._say_that_it_waits(error)
                if not self._is_draining:
                    self._bell.clear()
            await self._rest_until(moment)

    async def _work_off(self) -> datetime:
        """Publish until nothing is due; returns when to look again."""
        await self._measure()
        while not self._is_draining:
            moment = await next_due(self._store, self._clock.now())
            if moment is None or moment > self._clock.now():
                return moment or _NEVER
            handover = await self._due.publish()
            if handover is not None:
                self._tell(handover)
            # On a store in memory nothing above waits, and others want their turn, too.
            await asyncio.sleep(0)
        return _NEVER

    async def _rest_until(self, moment: datetime) -> None:
        now = self._clock.now()
        self._wakes_at = min(moment, now + self._look_every)
        timer = asyncio.ensure_future(self._clock.sleep(self._wakes_at - now))
        timer.add_done_callback(self._time_is_over)
        try:
            await self._bell.wait()
        finally:
            timer.cancel()

    def _time_is_over(self, timer: asyncio.Future[None]) -> None:
        if not timer.cancelled():
            self._bell.set()

    async def _measure(self) -> None:
        now = self._clock.monotonic()
        if self._measured_at is None or now - self._measured_at >= MEASURE_EVERY.total_seconds():
            messages, late = await backlog(self._store, self._clock.now())
            self._metrics.gauge(names.SCHEDULED).set(messages)
            self._metrics.gauge(names.SCHEDULED_LATE).set(late.total_seconds())
            self._measured_at = now

    def _tell(self, handover: Handover) -> None:
        """Count what was published, and say what never will be."""
        if handover.published:
            self._pause = timedelta()
            self._witness.sent([each.outgoing for each in handover.published])
        if handover.error is not None:
            left = [*handover.put_off, *handover.in_doubt, *(each for each, _ in handover.failed)]
            self._witness.failed([each.outgoing.topic for each in left], handover.error)
        self._published += len(handover.published)
        self._failed += len(handover.failed)
        for each, reason in handover.failed:
            topic = each.outgoing.topic
            if self._repeats.admit(f"failed:{topic}") is not None:
                log.error("scheduled message %s to %r is never published, but kept: %s", each.id, topic, reason)
        if handover.surprise is not None:
            self._say_that_it_waits(handover.surprise)

    def _say_that_it_waits(self, error: Exception) -> None:
        if not self.is_told(error) and self._repeats.admit(type(error).__name__) is not None:
            known = isinstance(error, AntiphonError)
            log.warning("publishing what is due waits: %s", error, exc_info=None if known else error)
