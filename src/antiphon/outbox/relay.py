"""Who publishes what rests in the outbox? Relays, as many as there are, each its share of the buckets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol

from antiphon.errors import AntiphonError, LeaseLostError, UsageError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.observability.repeats import RepeatLimit
from antiphon.outbox.leases import TTL, BucketLeases
from antiphon.outbox.own import OwnReader
from antiphon.outbox.posting import Posting, Publish
from antiphon.outbox.refused import Refused
from antiphon.storage.conflicts import persistently
from antiphon.storage.database import Database
from antiphon.storage.hinting import OUTBOX_HINTS, HintingDatabase
from antiphon.storage.outbox import BUCKETS, Staged, Unreadable
from antiphon.storage.outboxes import OutboxReader, OutboxTable
from antiphon.storage.set_aside import SetAside, turn_first

log = logging.getLogger("antiphon.outbox")

LIMIT = 1_000
"""The most messages that one road reads and publishes at once."""
ROADS = 2
"""While one road waits for the broker, the other one reads or deletes."""
FIRST_REST, LONGEST_REST = timedelta(milliseconds=5), timedelta(milliseconds=250)
"""Between two looks at an outbox that was empty: what nobody rang for is noticed after so long."""
LONGEST_GATHERING = timedelta(milliseconds=20)
"""Between batches that follow one another and are not full: as long as the last one took, but never longer."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=50), timedelta(seconds=5)
"""After a failure of the store or the broker."""
RETRY_EVERY = timedelta(seconds=1)
MEASURE_EVERY = timedelta(seconds=5)
PATIENCE = timedelta(seconds=10)
"""How long a drain waits for what is being published."""
_LONGEST_GOODBYE = timedelta(seconds=2)
"""How long it then waits for the store, to give up its buckets at once."""


class RelayWitness(Protocol):
    """Is told what became of messages, to count them and to tell others."""

    def sent(self, outgoing: Sequence[Outgoing]) -> None:
        """The broker holds these now."""
        ...

    def failed(self, topics: Sequence[str], error: BaseException) -> None:
        """So many were not published, by the topic of each."""
        ...

    def parked(self, item: SetAside) -> None:
        """This one is a dead letter now."""
        ...


class Relay:
    """A Runner that publishes what any service or application staged in the outbox of its store.

    Many may run at once, in any number of processes: they share the buckets out by leases, without a leader. Messages
    of one key are published in the order in which they were staged, if whoever staged them took turns on the key.
    Each is published at least once: a relay that dies between publishing and forgetting repeats, under the same ids.
    `token` tells it from every other one; one is made up without it. `outbox` is one that is not Antiphon's own.
    """

    name = "relay"

    def __init__(
        self,
        publish: Publish,
        store: Database,
        clock: Clock,
        metrics: Metrics,
        witness: RelayWitness,
        ttl: timedelta = TTL,
        token: str | None = None,
        outbox: OutboxTable | None = None,
    ) -> None:
        self._publish, self._store, self._clock = publish, store, clock
        self._metrics, self._witness = metrics, witness
        self._hinting = store if isinstance(store, HintingDatabase) else None
        self._buckets = range(BUCKETS) if outbox is None else outbox.buckets
        self._leases = BucketLeases(store, clock, ttl, token, self._buckets)
        self._reader: OutboxReader = OwnReader(store) if outbox is None else outbox.reader(store, clock)
        self._refused = Refused(store, clock)
        self._repeats = RepeatLimit(monotonic=clock.monotonic)
        self.patience = PATIENCE
        self.is_told: Callable[[BaseException], bool] = lambda error: False
        """Whether somebody else tells of this error, as of a store that is away."""
        self._bells = [asyncio.Event() for _ in range(ROADS)]
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self._published = self._parked = 0
        self._age = timedelta()
        self._is_stuck = False

    async def start(self) -> None:
        """As `Runner.start`. Raises UsageError the second time, and StoreError when there is no outbox to read."""
        if self._tasks:
            raise UsageError(f"the {self.name} on {self._store.url} was started already: start each once")
        await self._renew()
        tending = [
            self._every(self._leases.every, self._keep_up),
            self._every(RETRY_EVERY, self._retry),
            self._every(MEASURE_EVERY, self._measure),
            *([self._hinting.listen(OUTBOX_HINTS, self._wake)] if self._hinting is not None else []),
        ]
        traveling = [self._travel(road) for road in range(ROADS)]
        self._tasks = [asyncio.create_task(each, name=f"antiphon {self.name}") for each in (*tending, *traveling)]

    async def drain(self) -> None:
        """As `Runner.drain`: publish what is there. What cannot leave soon stays for whichever relay runs next."""
        self._ending.set()
        self._wake()
        if self._tasks:
            tending, traveling = self._tasks[:-ROADS], self._tasks[-ROADS:]
            await asyncio.wait(traveling, timeout=self.patience.total_seconds())
            for task in self._tasks:
                task.cancel()
            await asyncio.wait({*tending, *traveling})
            try:
                # A handler that was left behind may hold the store for as long as it likes.
                async with asyncio.timeout(min(self.patience, _LONGEST_GOODBYE).total_seconds()):
                    await persistently(self._leases.leave, self._clock)
            except (AntiphonError, TimeoutError) as error:
                log.warning("the relay's buckets are free only when its leases end: %r", error)

    def ring(self) -> None:
        """Something was staged; called once that is committed. Cheap."""
        self._wake()
        if self._hinting is not None and len(self._leases.owned) < len(self._buckets):
            self._hinting.hint(OUTBOX_HINTS)  # it may be another relay's to publish

    async def is_at_rest(self) -> bool:
        """Whether the outbox is empty."""
        return await self._reader.is_empty()

    def status(self) -> Mapping[str, str | int | float | bool]:
        """As `Runner.status`."""
        return {
            "published": self._published,
            "parked": self._parked,
            "buckets": len(self._leases.owned),
            "oldest_seconds": self._age.total_seconds(),
            "is_waiting": self._is_stuck,
        }

    def _wake(self) -> None:
        for bell in self._bells:
            bell.set()

    async def _travel(self, road: int) -> None:
        """Publish what the buckets of one road hold, again and again."""
        bell, rest, pause, is_busy = self._bells[road], FIRST_REST, FIRST_PAUSE, False
        while True:
            bell.clear()
            began = self._clock.monotonic()
            try:
                carried = await self._carry(road)
                pause = FIRST_PAUSE
            except Exception as error:  # noqa: BLE001 - nobody waits for this task, so it would end in silence
                self._say_that_it_waits(error)
                if self._ending.is_set():
                    return
                await self._rest(self._ending, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            if carried:
                rest = FIRST_REST
                await asyncio.sleep(0)  # on a store in memory nothing above waits, and others want their turn, too
                if is_busy and carried < LIMIT:
                    await self._gather(self._clock.monotonic() - began)
                is_busy = True
            elif self._ending.is_set():
                return
            else:
                is_busy = False
                await self._rest(bell, rest)
                rest = min(rest * 2, LONGEST_REST)

    async def _gather(self, took: float) -> None:
        # Few messages cost as many commits as a thousand do, which would be missing to whoever stages them.
        if took > 0 and not self._ending.is_set():
            await self._rest(self._ending, min(timedelta(seconds=took), LONGEST_GATHERING))

    async def _rest(self, bell: asyncio.Event, longest: timedelta) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(longest))
        waiting = asyncio.ensure_future(bell.wait())
        try:
            await asyncio.wait({timer, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waiting.cancel()

    async def _carry(self, road: int) -> int:
        """Publish one batch of a road; returns how many it had, or none where they wait."""
        buckets = self._leases.take(road, ROADS)
        if not buckets:
            return 0
        try:
            staged, unreadable = await self._reader.next(buckets, LIMIT)
            free, behind = await self._refused.sort(staged)
            if not self._leases.is_sure:
                return 0
            posting = Posting(self._publish)
            try:
                await posting.run(free)
            finally:
                await self._settle(posting, behind, unreadable)
            return 0 if posting.waiting else len(staged) + len(unreadable)
        finally:
            self._leases.put_back(buckets)

    async def _settle(self, posting: Posting, behind: Sequence[Staged], unreadable: Sequence[Unreadable]) -> None:
        """Forget what the broker holds; then let what it refused, and what follows of its key, rest elsewhere."""
        if posting.published:
            # As often as it takes: what is not forgotten is published again.
            await persistently(partial(self._forget, posting.published), self._clock)
            self._is_stuck = False
            self._tell(posting)
        behind = [*posting.behind, *behind]
        if not (posting.refused or behind or unreadable):
            return
        moved: list[Staged | Unreadable] = [*(each for each, _, _ in posting.refused), *behind, *unreadable]
        async with turn_first(self._store) as tx:
            await self._leases.require(tx, {each.bucket for each in moved})
            parked = await self._refused.keep(tx, posting.refused, behind, unreadable)
            await self._reader.forget(tx, [each.number for each in moved])
        self._tell_parked(parked, posting)

    async def _forget(self, staged: Sequence[Staged]) -> None:
        async with self._store.transaction() as tx:
            await self._reader.forget(tx, [each.number for each in staged])

    def _tell(self, posting: Posting) -> None:
        self._published += len(posting.published)
        self._witness.sent([each.outgoing for each in posting.published])
        if posting.waiting and posting.error is not None:
            self._witness.failed([each.outgoing.topic for each in posting.waiting], posting.error)

    def _tell_parked(self, parked: Collection[SetAside], posting: Posting) -> None:
        self._parked += len(parked)
        if posting.refused and posting.error is not None:
            self._witness.failed([each.outgoing.topic for each, _, _ in posting.refused], posting.error)
        for item in parked:
            self._witness.parked(item)
            if self._repeats.admit(f"{item.topic} {item.reason}") is not None:
                why = item.attempts[-1].text
                log.error("message %s to %r is parked, never published: %s", item.message.id, item.topic, why)

    async def _every(self, period: timedelta, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except Exception as error:  # noqa: BLE001 - as above
                self._say_that_it_waits(error)
            await self._clock.sleep(period)

    async def _keep_up(self) -> None:
        if await self._renew():
            self._refused.suspect()
            self._wake()

    async def _renew(self) -> bool:
        """As `BucketLeases.keep_up`; relays that do so at the same moment are in each other's way."""
        return await persistently(self._leases.keep_up, self._clock)

    async def _retry(self) -> None:
        await self._refused.look()
        while (retried := await self._refused.retry(self._publish)) is not None:
            posting, parked = retried
            self._tell(posting)
            self._tell_parked(parked, posting)
            if posting.waiting or not posting.published:
                return

    async def _measure(self) -> None:
        messages, self._age = await self._reader.backlog(self._clock.now())
        self._metrics.gauge(names.OUTBOX).set(messages)
        self._metrics.gauge(names.OUTBOX_AGE).set(self._age.total_seconds())

    def _say_that_it_waits(self, error: Exception) -> None:
        self._is_stuck = not isinstance(error, LeaseLostError)
        if not self.is_told(error) and self._repeats.admit(type(error).__name__) is not None:
            known = isinstance(error, AntiphonError)
            log.warning("publishing from the outbox waits: %s", error, exc_info=None if known else error)
