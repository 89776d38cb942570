"""An attempt in the transaction of a session or connection that the handler is given, begun before it is called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from antiphon.errors import TransactionEndedError
from antiphon.events.message import Outgoing
from antiphon.runtime.owning import HandledBeforeError
from antiphon.runtime.route import Given, call_plain, collect
from antiphon.runtime.signature import Shape
from antiphon.runtime.surroundings import Surroundings, is_passing
from antiphon.runtime.work import Work, mark_of, read
from antiphon.storage.sessions import SessionTransaction


class SessionAttempt:
    """As `OneAttempt`: the mark, what the handler writes, and what it emits are in the session's transaction."""

    def __init__(self, surroundings: Surroundings, work: Work) -> None:
        self._surroundings, self._work = surroundings, work
        self._tx: SessionTransaction | None = None
        self.is_repeated = False

    async def run(self) -> None:
        """As `OneAttempt.run`."""
        route = self._work.route
        event = read(route, self._work.delivery.message)
        details = await route.fetcher(event) if route.fetcher is not None else None
        tx = await self._begin()
        made = await self._call(tx, event, details)
        await self._require_unended(tx)
        await self._commit(tx, made)

    async def find_out(self) -> None:
        """As `OneAttempt.find_out`: it was found out before the handler was called."""

    async def rollback(self) -> None:
        """As `OneAttempt.rollback`."""
        if self._tx is not None:
            await self._tx.rollback()

    async def _begin(self) -> SessionTransaction:
        sessions, inbox = self._work.route.sessions, self._surroundings.inbox
        assert sessions is not None, "a service opens the sessions of its handlers before it begins"
        tx = self._tx = await sessions.begin()
        if inbox is not None:
            marks = await inbox.mark(tx, [mark_of(self._work)], self._surroundings.clock.now())
            self.is_repeated = not all(marks)
            if self.is_repeated:
                raise HandledBeforeError
        await tx.guard()
        return tx

    async def _call(self, tx: SessionTransaction, event: object, details: object) -> Sequence[Outgoing]:
        """Run the handler; returns what it emits."""
        work, made = self._work, list[Outgoing]()
        given = self._surroundings.given(work, tx, details, made)
        given.session, given.call = tx.session, tx.call
        try:
            result = await self._result(tx, event, given)
        except Exception as error:
            explained = tx.explained(error)
            if explained is not None and is_passing(explained):
                raise explained from error
            raise
        finally:
            given.end()
        return [*made, *self._surroundings.outgoing(work.route, work.delivery.message, result, len(made))]

    async def _result(self, tx: SessionTransaction, event: object, given: Given) -> object:
        route = self._work.route
        if route.shape in (Shape.ASYNC, Shape.ASYNC_GENERATOR):
            return await collect(route.call(event, given), route.shape)
        return await tx.call(partial(call_plain, route.call, route.shape, event, given))

    async def _require_unended(self, tx: SessionTransaction) -> None:
        try:
            await tx.require_unended()
        except TransactionEndedError:
            await tx.rollback()
            await self._take_mark_back()
            raise

    async def _take_mark_back(self) -> None:
        """What the handler committed by itself may hold the mark; then a redrive would be taken for a repetition."""
        if (inbox := self._surroundings.inbox) is not None:
            async with self._surroundings.store.transaction() as own:
                await inbox.forget(own, [mark_of(self._work)])

    async def _commit(self, tx: SessionTransaction, made: Sequence[Outgoing]) -> None:
        if made:
            await self._surroundings.publish_in(tx, made)
        confirm = await self._surroundings.settling.settle_in(tx, [self._work.delivery])
        await tx.commit()
        confirm()
        self._surroundings.committed()
