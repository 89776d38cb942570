"""A transaction for one message, begun at its first statement, for handlers that wait for other things, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import TypeVar, overload

from antiphon.errors import LeaseLostError
from antiphon.events.message import Outgoing
from antiphon.observability.context import enter
from antiphon.resilience.policy import Decision
from antiphon.runtime.route import collect
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, failure_of, is_passing, reason_of
from antiphon.runtime.window import WAITING
from antiphon.runtime.work import Work, read
from antiphon.storage.database import OpenTransaction, Row, SqlValue
from antiphon.storage.dead_letters import Attempt

T = TypeVar("T")
log = logging.getLogger("antiphon.runtime")


class _HandledBeforeError(BaseException):
    """The message turned out to be handled, at the first statement. No handler catches it by `except Exception`."""


class LazyTransaction:
    """A `Transaction` that begins, with the inbox mark, at its first statement."""

    def __init__(self, surroundings: Surroundings, message_id: str) -> None:
        self._surroundings, self._message_id = surroundings, message_id
        self._tx: OpenTransaction | None = None
        self._is_repeated = False

    async def begun(self) -> OpenTransaction:
        """The transaction itself, begun now if it was not. Raises when the message was handled before."""
        if self._tx is None:
            self._tx = await self._surroundings.store.begin()
            inbox = self._surroundings.inbox
            if inbox is not None:
                (fresh,) = await inbox.mark(self._tx, [self._message_id], self._surroundings.clock.now())
                self._is_repeated = not fresh
        if self._is_repeated:
            raise _HandledBeforeError
        return self._tx

    async def rollback(self) -> None:
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
            raise RuntimeError("after_commit() before the first statement of a transaction of its own: execute first")
        self._tx.after_commit(callback)


class OwnTransaction:
    """Runs each work in a transaction of its own; lanes run side by side, and take turns only to write."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    async def run(self, works: Sequence[Work]) -> None:
        """Return when every work is committed, parked, stalled or lost."""
        for work in works:
            if self._surroundings.may_begin(work):
                await self._run_one(work)

    async def _run_one(self, work: Work) -> None:
        attempts: list[Attempt] = []
        pause = FIRST_PAUSE
        while work.delivery.state == WAITING:
            try:
                await self._attempt(work, len(attempts) + 1)
                return
            except (Exception, asyncio.CancelledError) as raised:
                error = failure_of(raised)
                if isinstance(error, LeaseLostError):
                    self._surroundings.lost_lease()
                if is_passing(error):
                    await self._surroundings.clock.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
                decision = self._surroundings.decide(work, attempts, error)
                if decision is not Decision.AGAIN:
                    if decision is Decision.PARK:
                        self._surroundings.park(work, attempts, reason_of(error))
                    return

    async def _attempt(self, work: Work, number: int) -> None:
        delivery, route = work.delivery, work.route
        enter((route.instruments.scope, delivery.message, number))
        began = perf_counter()
        tx = LazyTransaction(self._surroundings, delivery.message.id)
        try:
            event = read(route, delivery.message)
            details = await route.fetcher(event) if route.fetcher is not None else None
            made: list[Outgoing] = []
            result = await collect(route.call(event, self._surroundings.given(work, tx, details, made)), route.shape)
            made += self._surroundings.outgoing(route, delivery.message, result, len(made))
            await self._commit(work, await tx.begun(), made)
        except _HandledBeforeError:
            await tx.rollback()
            route.instruments.duplicates.inc()
            self._surroundings.finished(delivery)
        except BaseException:
            await tx.rollback()
            raise
        else:
            self._surroundings.handled(work, number, perf_counter() - began)
        route.instruments.durations.observe(perf_counter() - began)

    async def _commit(self, work: Work, tx: OpenTransaction, made: Sequence[Outgoing]) -> None:
        if made:
            await self._surroundings.publish_in(tx, made)
        confirm = await self._surroundings.settling.settle_in(tx, [work.delivery])
        await tx.commit()
        confirm()
        self._surroundings.committed()
        self._surroundings.sent(made)
