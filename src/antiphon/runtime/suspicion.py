"""Which message kills its process? It is found after the restart by its attempt that never ended, and run alone.

Nothing is written while all goes well. Once a process of the group died, what is about to be attempted is written
down first, for a while: of a process that dies then it is known what it was at. Those messages are attempted alone,
one at a time and with nothing beside them in their process, so that the next death names the one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from weakref import WeakKeyDictionary

from antiphon.errors import AntiphonError
from antiphon.events.clock import Clock
from antiphon.events.message import Message
from antiphon.runtime.window import WAITING
from antiphon.runtime.work import Work
from antiphon.storage import runs
from antiphon.storage.clocks import store_time
from antiphon.storage.conflicts import persistently
from antiphon.storage.database import Database, Transaction
from antiphon.storage.runs import Process, Run, Suspects
from antiphon.storage.set_aside import RetryStore
from antiphon.storage.texts import kept

log = logging.getLogger("antiphon.runtime")

CRASH = "crash"
"""The reason of what is parked since its process died of it."""
CAREFUL = timedelta(minutes=5)
"""How long what is attempted is written down first, after a process was found dead."""
LONGEST_WAIT = timedelta(seconds=10)
"""How long the attempt of a suspect waits for the others of its process to end, while none of them begins."""
FEW = 32
"""Messages at most that are attempted under one note, where no transaction bounds them."""
EVERY = timedelta(seconds=15)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Status = Callable[[], Mapping[str, object]]


class Turns:
    """Attempts run beside each other, or one alone: a process dies as a whole, whichever service was at fault."""

    def __init__(self) -> None:
        self._running = 0
        self._changed = asyncio.Condition()
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def taken(self, *, alone: bool) -> AsyncGenerator[bool]:
        """`async with`: beside others that are not alone, or with nobody else; gives whether it is alone.

        Whoever waits to be alone for long goes on beside the others: they may wait for what it does.
        """
        async with self._alone:
            if alone and await self._is_quiet():
                yield True
                return
            self._running += 1
        try:
            yield False
        finally:
            self._running -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _is_quiet(self) -> bool:
        """Wait until nobody else runs; false when that takes too long."""
        try:
            async with asyncio.timeout(LONGEST_WAIT.total_seconds()), self._changed:
                await self._changed.wait_for(lambda: self._running == 0)
        except TimeoutError:
            return False
        return True


_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()
"""One for the process, which is what dies: all services of an event loop take turns in it."""


class Suspicion:
    """One run of a service: known to the others while it lives, and careful after one of them died.

    Its id is what it claims under, so that what a dead one had claimed is free at once.
    """

    def __init__(self, service: str, claims: RetryStore, database: Database, clock: Clock, status: Status) -> None:
        self._service, self._database, self._clock = service, database, clock
        self._group, self._id = claims.group, claims.token
        self._status = status
        self._suspects = Suspects({}, None)
        self._acquittals = 0
        self._run: Run | None = None
        self._looked_at = clock.monotonic()
        self._back_at = _LONG_AGO
        """When the store could be asked again, after it could not be for long."""
        self._working: Counter[str] = Counter()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.careful = False
        """Whether attempts must be announced: looked at before each run, so that it is no method."""
        self.died: Callable[[int], None] = lambda count: None
        self.condemn: Callable[[Work, int], None] = lambda work, crashes: None
        self.waits: Callable[[str, BaseException], None] = lambda told, error: log.warning("%s: %s", told, error)
        """As `Surroundings.waits`."""
        self.patiently: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] = lambda ask: ask()
        """Asks again until the store can be reached."""

    async def start(self) -> None:
        """Look for dead ones, then be known to the others. Raises StoreError."""
        await self.look()
        now = await store_time(self._database, self._clock.now())
        self._run = Run(
            id=self._id,
            group=self._group,
            service=self._service,
            process=Process.own(),
            started_at=now,
            heard_of=now,
            status={},
        )
        await self.say()
        self._task = asyncio.create_task(self._keep(), name="antiphon run")

    async def stop(self, patience: timedelta) -> None:
        """Say that it ended well, unless the store cannot be had for so long. Twice is safe."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = self._run = None
            try:
                async with asyncio.timeout(patience.total_seconds()):
                    await persistently(self._end, self._clock)
            except (AntiphonError, TimeoutError) as error:
                log.warning("the end of this run was not noted, so that others will be careful: %r", error)

    async def _end(self) -> None:
        async with self._database.transaction() as tx:
            await runs.end_run(tx, self._id)

    async def look(self) -> None:
        """See who died, and what has to be suspected. It reads, and writes only when somebody died."""
        now = await self._time()
        dead = [run for run in await runs.list_runs(self._database, self._group) if self._is_dead(run, now)]
        if dead:
            counts = await persistently(partial(self._bury, dead, now), self._clock)
            self.died(sum(counts))
            for run, count in zip(dead, counts, strict=True):
                log.warning(
                    "process %d died while it ran %s, with %d messages in work", run.process.pid, self._group, count
                )
        await self._learn()
        found = self._suspects.found_at
        self.careful = found is not None and now - found < CAREFUL

    async def _bury(self, dead: Sequence[Run], now: datetime) -> Sequence[int]:
        """As `runs.bury`; whoever else found them dead does so at the same moment."""
        async with self._database.transaction() as tx:
            return [await runs.bury(tx, run, now) for run in dead]

    async def _time(self) -> datetime:
        """The store's; after the store was away for long, everybody has the time of a silence to be heard of again."""
        now = await store_time(self._database, self._clock.now())
        monotonic = self._clock.monotonic()
        if monotonic - self._looked_at > 2 * EVERY.total_seconds():
            self._back_at = now
        self._looked_at = monotonic
        return now

    def _is_dead(self, run: Run, now: datetime) -> bool:
        return run.id != self._id and run.process.is_dead(max(run.heard_of, self._back_at), now)

    async def _learn(self) -> None:
        """Take over whom the store suspects, unless that answer is older than an acquittal."""
        while True:
            before = self._acquittals
            found = await runs.suspects_of(self._database, self._group)
            if before == self._acquittals:
                self._suspects = found
                return

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.say()
                await self.look()
                await self._forget()
            except AntiphonError as error:
                self.waits("this run could not be noted for now", error)

    async def say(self) -> None:
        """Tell the others that it lives, and how it is. One that was taken for dead is back with that."""
        if self._run is not None:
            await persistently(partial(self._say, self._run), self._clock)

    async def _say(self, run: Run) -> None:
        now = await store_time(self._database, self._clock.now())
        async with self._writing, self._database.transaction() as tx:
            if not await runs.beat(tx, self._id, now, self._status()):
                await runs.begin_run(tx, run)
                await runs.note_working(tx, self._id, self._at_work(), alone=False)
                await runs.beat(tx, self._id, now, self._status())

    async def _forget(self) -> None:
        """Let the suspicion rest when nothing died for long."""
        if not self.careful and (self._suspects.crashes or self._suspects.found_at):
            now = await store_time(self._database, self._clock.now())
            await persistently(partial(self._forget_before, now - CAREFUL), self._clock)

    async def _forget_before(self, moment: datetime) -> None:
        async with self._database.transaction() as tx:
            await runs.forget_suspects(tx, self._group, moment)

    def crashes(self, work: Work) -> int | None:
        """How often a process died while this was attempted alone; None where it is not suspected."""
        return self._suspects.crashes.get(suspect_of(work.delivery.message))

    def parts(self, works: Sequence[Work], most: int = FEW) -> Iterable[Sequence[Work]]:
        """`works` in order, in parts to be attempted under one note: each suspect alone.

        One that the process died of too often is condemned instead.
        """
        part: list[Work] = []
        for work in works:
            crashes = self.crashes(work)
            if crashes is not None and crashes >= work.route.policy.crashes:
                if part:  # what came before it is attempted first, since what follows its key will wait
                    yield part
                    part = []
                if work.delivery.state == WAITING:
                    self.condemn(work, crashes)
                continue
            is_suspect = crashes is not None
            if part and (is_suspect or len(part) >= most):
                yield part
                part = []
            part.append(work)
            if is_suspect:
                yield part
                part = []
        if part:
            yield part

    @asynccontextmanager
    async def watched(self, works: Sequence[Work]) -> AsyncGenerator[None]:
        """`async with`: these are attempted in it, and that is known should the process die."""
        identities = [suspect_of(work.delivery.message) for work in works]
        alone = len(works) == 1 and self.crashes(works[0]) is not None
        turns = _TURNS.setdefault(asyncio.get_running_loop(), Turns())
        async with turns.taken(alone=alone) as is_alone:
            self._working.update(identities)
            try:
                await self.patiently(partial(self._note, alone=is_alone))
                yield
            finally:
                self._working.subtract(identities)
                self._working = +self._working
            if is_alone:  # still alone: what another one does must not be noted against this
                await self.patiently(partial(self._clear, identities[0]))

    async def _note(self, *, alone: bool) -> None:
        async with self._writing, self._database.transaction() as tx:
            await runs.note_working(tx, self._id, self._at_work(), alone=alone)

    async def pardon(self, tx: Transaction, identities: Iterable[str]) -> None:
        """Suspect these no more when `tx` commits, which parks them: a redrive is no trial for the same deaths."""
        for identity in identities:
            await runs.clear(tx, self._group, identity)

    def pardoned(self, identities: Collection[str]) -> None:
        """These are parked for certain."""
        if identities:
            self._acquit(identities)

    def _acquit(self, identities: Collection[str]) -> None:
        left = {known: n for known, n in self._suspects.crashes.items() if known not in identities}
        self._suspects = Suspects(left, self._suspects.found_at)
        self._acquittals += 1

    def _at_work(self) -> Collection[str]:
        return list(self._working)

    async def _clear(self, identity: str) -> None:
        """It was attempted alone and the process lives: it is innocent."""
        self._acquit([identity])
        async with self._writing, self._database.transaction() as tx:
            await runs.note_working(tx, self._id, self._at_work(), alone=False)
            await runs.clear(tx, self._group, identity)


def suspect_of(message: Message) -> str:
    """The name under which a message is suspected."""
    return kept(message.identity)
