"""A transaction for one message, begun at its first statement, for handlers that wait for other things, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, overload

from antiphon.errors import LeaseLostError, StoreError, UsageError
from antiphon.events.message import Outgoing
from antiphon.observability.context import enter
from antiphon.resilience.policy import Decision
from antiphon.runtime.lanes import More
from antiphon.runtime.route import collect
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing
from antiphon.runtime.verdicts import Verdicts
from antiphon.runtime.work import Work, mark_of, read, tried
from antiphon.storage.database import OpenTransaction, Row, SqlValue

T = TypeVar("T")
log = logging.getLogger("antiphon.runtime")


class HandledBeforeError(BaseException):
    """The message turned out to be handled, at the first statement. No handler catches it by `except Exception`."""


class LazyTransaction:
    """A `Transaction` that begins, with the inbox mark, at its first statement; statements side by side begin one."""

    def __init__(self, surroundings: Surroundings, mark: str) -> None:
        self._surroundings, self._mark = surroundings, mark
        self._beginning = asyncio.Lock()
        self._tx: OpenTransaction | None = None
        self._is_over = False
        self.is_repeated = False
        """Whether the message turned out to be handled before."""

    async def begun(self) -> OpenTransaction:
        """The transaction itself, begun now if it was not. Raises when the message was handled before."""
        tx = self._tx or await self._begun_once()
        if self.is_repeated:
            raise HandledBeforeError
        return tx

    async def _begun_once(self) -> OpenTransaction:
        async with self._beginning:
            tx = self._tx = self._tx or await self._begin()
            return tx

    async def _begin(self) -> OpenTransaction:
        self._require_attempt()
        tx = await self._surroundings.store.begin()
        try:
            self._require_attempt()
            if self._surroundings.inbox is not None:
                marks = await self._surroundings.inbox.mark(tx, [self._mark], self._surroundings.clock.now())
                self.is_repeated = not all(marks)
        except BaseException:
            await tx.rollback()
            raise
        return tx

    def _require_attempt(self) -> None:
        # Begun later, nobody would end it, and it would keep the lock that every other writer waits for.
        if self._is_over:
            raise StoreError(
                "the transaction is over: the handler that it was given to has ended; write before it returns"
            )

    async def find_out(self) -> None:
        """See whether the message was handled before, where the handler failed before any statement could tell."""
        if self._tx is None:
            await self._begun_once()

    async def require_sound(self) -> None:
        """Raise what undid the transaction, if anything did: it is the reason of whatever the handler raised."""
        if self._tx is not None:
            await self._tx.fetch("select 1")

    async def rollback(self) -> None:
        """Undo everything; from now on it cannot begin. Twice is safe."""
        self._is_over = True
        if self._tx is not None:
            await self._tx.rollback()

    async def execute(self, sql: str, *args: SqlValue) -> None:
        await (await self.begun()).execute(sql, *args)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        await (await self.begun()).execute_many(sql, rows)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        tx = await self.begun()
        return await tx.fetch(sql, *args) if row is None else await tx.fetch(sql, *args, row=row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        tx = await self.begun()
        return await tx.fetch_one(sql, *args) if row is None else await tx.fetch_one(sql, *args, row=row)

    def after_commit(self, callback: Callable[[], None]) -> None:
        if self._tx is None:
            raise UsageError("after_commit() before the first statement of a transaction of its own: execute first")
        self._tx.after_commit(callback)


class OneAttempt(Protocol):
    """One attempt at one work, in a transaction of its own."""

    @property
    def is_repeated(self) -> bool:
        """Whether the message turned out to be handled before."""
        ...

    async def run(self) -> None:
        """Run the handler and commit what it did. Raises what it raises, or that it was handled before."""
        ...

    async def find_out(self) -> None:
        """See whether the message was handled before, where that is not known yet."""
        ...

    async def rollback(self) -> None:
        """Undo everything. Twice, or after a commit, is safe."""
        ...


class OwnAttempt:
    """As `OneAttempt`, in a transaction that begins at the handler's first statement."""

    def __init__(self, surroundings: Surroundings, work: Work) -> None:
        self._surroundings, self._work = surroundings, work
        self._tx = LazyTransaction(surroundings, mark_of(work))

    @property
    def is_repeated(self) -> bool:
        """As `OneAttempt.is_repeated`."""
        return self._tx.is_repeated

    async def run(self) -> None:
        """As `OneAttempt.run`."""
        made = await self._call()
        tx = await self._tx.begun()
        if made:
            await self._surroundings.publish_in(tx, made)
        confirm = await self._surroundings.settling.settle_in(tx, [self._work.delivery])
        await tx.commit()
        confirm()
        self._surroundings.committed()

    async def find_out(self) -> None:
        """As `OneAttempt.find_out`."""
        await self._tx.find_out()

    async def rollback(self) -> None:
        """As `OneAttempt.rollback`."""
        await self._tx.rollback()

    async def _call(self) -> Sequence[Outgoing]:
        """Run the handler; returns what it emits."""
        work, route, message = self._work, self._work.route, self._work.delivery.message
        event = read(route, message)
        details = await route.fetcher(event) if route.fetcher is not None else None
        made: list[Outgoing] = []
        given = self._surroundings.given(work, self._tx, details, made)
        try:
            result = await collect(route.call(event, given), route.shape)
        except Exception:
            await self._tx.require_sound()
            raise
        finally:
            given.end()
        return [*made, *self._surroundings.outgoing(route, message, result, len(made))]


class OwnTransaction:
    """Runs each work in a transaction of its own; lanes run side by side, and take turns only to write."""

    def __init__(
        self,
        surroundings: Surroundings,
        verdicts: Verdicts,
        attempt: Callable[[Surroundings, Work], OneAttempt] = OwnAttempt,
    ) -> None:
        self._surroundings, self._verdicts, self._begin = surroundings, verdicts, attempt
        self._admission = surroundings.admission
        self._running: set[OneAttempt] = set()

    async def give_up(self) -> None:
        """Undo what handlers that are left behind have open: others wait for it, as for the only writer of SQLite."""
        await asyncio.gather(*(attempt.rollback() for attempt in self._running), return_exceptions=True)

    async def run(self, works: Sequence[Work], _: More) -> None:
        """Return when every work is committed, set aside, held or lost."""
        for work in works:
            if self._admission.admits(work):
                await self._run_one(work)

    async def _run_one(self, work: Work) -> None:
        attempts = list(work.past)
        pause = FIRST_PAUSE
        while True:
            try:
                await self._attempt(work, len(attempts) + 1)
                return
            except (Exception, asyncio.CancelledError) as raised:
                error = self._surroundings.failure_of(raised)
            if isinstance(error, LeaseLostError):
                self._surroundings.lost_lease()
            if not self._admission.goes_on(work):
                return
            if is_passing(error):
                self._surroundings.is_told(error)
                await self._surroundings.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            elif (step := self._verdicts.decide(work, attempts, error)) is None:
                return
            elif step.decision is not Decision.AGAIN:
                self._verdicts.carry_out(work, attempts, step, error)
                return
            work = tried(work, attempts)
            if not self._admission.admits(work):
                return

    async def _attempt(self, work: Work, number: int) -> None:
        delivery, route = work.delivery, work.route
        enter((route.instruments.scope, delivery.message, number))
        began = self._surroundings.stopwatch()
        if route.gate is not None:
            route.gate.began(delivery, route.gate.generation)
        attempt = self._begin(self._surroundings, work)
        self._running.add(attempt)
        try:
            await attempt.run()
        except BaseException as error:
            try:
                if number == 1 and isinstance(error, Exception):
                    await attempt.find_out()
            finally:
                await attempt.rollback()
                self._running.discard(attempt)
            # Whatever a handler makes of being told: nothing that it did counts.
            if not attempt.is_repeated or isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
                raise
            self._surroundings.repeated(work)
            self._surroundings.finished(delivery)
        else:
            self._running.discard(attempt)
            self._surroundings.succeeded(work, self._surroundings.stopwatch() - began)
            self._surroundings.handled(work, number, self._surroundings.stopwatch() - began)
        route.instruments.durations.observe(self._surroundings.stopwatch() - began)
