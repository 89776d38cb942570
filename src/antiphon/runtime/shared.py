"""How works of many lanes come into few transactions, and what happens when a commit fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from antiphon.errors import LeaseLostError, PublishError, StatementError, StoreError
from antiphon.resilience.policy import Decision
from antiphon.runtime.health import Pulse
from antiphon.runtime.lanes import More
from antiphon.runtime.route import Route
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing
from antiphon.runtime.transacting import BatchTransaction, Failures, PartsNeededError
from antiphon.runtime.units import Unit, units_of
from antiphon.runtime.verdicts import Verdicts
from antiphon.runtime.work import Work, attempt_of, live

_FEWEST = 16
IN_PARTS = timedelta(seconds=5)
"""How long handlers run in parts after one failed, on a store where those are dear."""


class TransactionBounds(Struct, frozen=True):
    """When a transaction commits: every other writer of the file waits for it until then."""

    messages: int
    time: timedelta


class SharedTransaction:
    """Runs the works of all lanes that ask for a transaction, one after another, many to a commit.

    While one transaction commits the next one gathers. When a commit fails nothing happened: what can pass is run
    again after a pause, anything else is narrowed down to the one message that cannot commit.
    """

    def __init__(self, surroundings: Surroundings, verdicts: Verdicts, bounds: TransactionBounds, pulse: Pulse) -> None:
        self._surroundings, self._verdicts = surroundings, verdicts
        self._suspicion = surroundings.suspicion
        self._bounds, self._pulse = bounds, pulse
        self._waiting: list[tuple[Sequence[Work], asyncio.Future[None]]] = []
        self._news = asyncio.Event()
        self._failures: Failures = {}
        self._details: dict[str, object] = {}
        """What was fetched for works in hand, by message: a transaction that is repeated asks nobody again."""
        self._parts_until = 0.0
        """Until when handlers run in parts, on a store where those are dear: for a while after one failed."""
        self._failed: PartsNeededError | None = None
        """What ended the last transaction, and is to be decided on in the next one."""
        self._alone = 0
        self._most = bounds.messages
        """How many to begin a transaction with: about as many as one had time for lately."""
        self._is_over = False
        self._running: BatchTransaction | None = None
        self._is_given_up = False

    async def run(self, works: Sequence[Work], _: More) -> None:
        """Return when every work is committed, paused or lost, or nothing is collected any more."""
        if self._is_over:
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((works, done))
        self._news.set()
        await done

    async def collect(self) -> None:
        """Take what the lanes bring; go on until cancelled."""
        taken: list[tuple[Sequence[Work], asyncio.Future[None]]] = []
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                taken, self._waiting = self._waiting, []
                await self._work_off([work for works, _ in taken for work in works])
                _let_go(taken)
                taken = []
        finally:
            self._is_over = True
            _let_go([*taken, *self._waiting])

    async def give_up(self) -> None:
        """Undo what a handler that is left behind has open: others wait for it, as for the only writer of SQLite."""
        self._is_given_up = True
        if self._running is not None:
            await self._running.give_up()

    async def _work_off(self, works: Sequence[Work]) -> None:
        todo = deque(works)
        pause = FIRST_PAUSE
        self._pulse.begin()
        while todo and not self._surroundings.draining:
            limit = 1 if self._alone > 0 else self._most
            taken = [todo.popleft() for _ in range(min(limit, len(todo)))]
            batch: Sequence[Work]
            batch, later = self._surroundings.admission.first_of(taken)
            todo.extendleft(reversed(later))
            self._alone -= 1
            if self._suspicion.careful:
                batch, back = self._first_part(batch)
                todo.extendleft(reversed(back))
            try:
                rest = await self._watched(batch)
                pause = FIRST_PAUSE
                self._pulse.beat()
            except Exception as error:
                if self._is_given_up:
                    return  # that its transaction is over is no fault of anybody's
                rest = batch
                if not self._narrow(batch, error):
                    self._surroundings.waits("the transaction was rolled back and is tried again", error)
                    await self._surroundings.clock.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
            todo.extendleft(reversed(live(rest)))
        self._details.clear()
        self._pulse.rest()

    def _first_part(self, works: Sequence[Work]) -> tuple[Sequence[Work], Sequence[Work]]:
        """What may share a transaction now, and the rest: a suspect has one of its own."""
        first = next(iter(self._suspicion.parts(works, most=len(works))), ())
        return first, [work for work in live(works) if work not in first]

    async def _watched(self, works: Sequence[Work]) -> Sequence[Work]:
        if not self._suspicion.careful or not works:
            return await self._transact(works)
        async with self._suspicion.watched(works):
            return await self._transact(works)

    async def _transact(self, works: Sequence[Work]) -> Sequence[Work]:
        units = units_of(works)
        if not units:
            return ()
        await self._fetch_details(units)
        transaction = BatchTransaction(
            self._surroundings,
            self._verdicts,
            self._failures,
            self._bounds.time,
            failed=self._failed,
            parts=self._has_parts(),
        )
        self._failed = None
        self._running = transaction
        try:
            rest = await transaction.run(units)
        finally:
            self._running = None
        self._failures.clear()
        left = [work for unit in rest for work in unit.works]
        done = len(works) - len(left)
        self._most = max(done, _FEWEST) if left else min(self._bounds.messages, max(self._most, done * 2))
        return left

    def _has_parts(self) -> bool:
        surroundings = self._surroundings
        return surroundings.store.cheap_savepoints or surroundings.stopwatch() < self._parts_until

    async def _fetch_details(self, units: Sequence[Unit]) -> None:
        """Before the transaction begins: whatever a fetcher waits for, no other writer waits for it."""
        wanting = [(unit, unit.route) for unit in units if unit.route.fetcher is not None and unit.error is None]
        if wanting:
            await asyncio.gather(*(self._fetch(unit, route) for unit, route in wanting))

    async def _fetch(self, unit: Unit, route: Route) -> None:
        """Fetch, at once again as often as the policy allows; the last failure is left to the transaction to park."""
        assert route.fetcher is not None
        id = unit.last.delivery.message.identity
        while id not in self._details and unit.error is None:
            try:
                self._details[id] = await route.fetcher(unit.event)
            except Exception as error:
                if route.policy.next_step(len(unit.attempts) + 1, error).decision is Decision.AGAIN:
                    unit.attempts.append(attempt_of(error, self._surroundings.clock.now()))
                else:
                    unit.error = error
        unit.details = self._details.get(id)

    def _narrow(self, batch: Sequence[Work], error: Exception) -> bool:
        """Decide what a failed commit means; true when the works can be run again at once.

        A store that is damaged or closed to writing is nobody's message's fault: raised, it stops the service.
        """
        surroundings = self._surroundings
        surroundings.instruments.rolled_back(error)
        if isinstance(error, PartsNeededError) or (isinstance(error, StatementError) and not self._has_parts()):
            # A statement that was sent on is refused only later, where nobody can say whose it was.
            self._failed = error if isinstance(error, PartsNeededError) else None
            self._parts_until = surroundings.stopwatch() + IN_PARTS.total_seconds()
            return True
        if isinstance(error, LeaseLostError):
            surroundings.lost_lease()
            return False
        if is_passing(error):
            return False
        if isinstance(error, StoreError) and not isinstance(error, StatementError):
            raise error
        if isinstance(error, PublishError):
            return bool(self._failures)
        if len(batch) > 1:
            self._alone = len(batch)
        elif (identity := batch[0].delivery.message.identity) in self._failures:
            raise error  # it cannot even be parked
        else:
            self._failures[identity] = error
        return True


def _let_go(waiting: Sequence[tuple[Sequence[Work], asyncio.Future[None]]]) -> None:
    for _, done in waiting:
        if not done.done():
            done.set_result(None)
