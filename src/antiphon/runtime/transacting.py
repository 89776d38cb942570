"""One transaction for many messages: inbox marks, writes, what is emitted and the watermark commit together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from datetime import timedelta
from time import perf_counter
from typing import cast

from antiphon.errors import PublishError
from antiphon.events.message import Outgoing
from antiphon.observability.context import enter
from antiphon.resilience.policy import Decision
from antiphon.runtime.driving import drive
from antiphon.runtime.route import Given, collect
from antiphon.runtime.signature import Shape
from antiphon.runtime.surroundings import Surroundings, is_passing, reason_of
from antiphon.runtime.units import Unit
from antiphon.runtime.work import Work
from antiphon.storage.database import OpenTransaction
from antiphon.storage.dead_letters import Attempt, park

Failures = dict[str, Exception]
"""Messages, by identity, whose handling succeeded but whose events the broker refused for good."""


class BatchTransaction:
    """One shot: runs units one after another in one transaction and commits.

    A failed handler's writes are undone alone, and its retry or dead letter is part of the same transaction.
    """

    def __init__(self, surroundings: Surroundings, failures: Failures, longest: timedelta) -> None:
        self._surroundings = surroundings
        self._longest = longest.total_seconds()
        self._failures = failures
        self._outgoing: list[Outgoing] = []
        self._senders: dict[str, str] = {}
        self._parked: list[tuple[Work, list[Attempt], str]] = []
        self._done: list[Work] = []
        self._told: list[tuple[Unit, float]] = []

    async def run(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Commit as many of `units` as time allows; returns the rest. When it raises, nothing happened."""
        instruments = self._surroundings.instruments
        asked = perf_counter()
        tx = await self._surroundings.store.begin()
        began = perf_counter()
        instruments.wait.observe(began - asked)
        try:
            rest = await self._handle_all(tx, units, began)
            await self._commit(tx)
        except BaseException:
            await tx.rollback()
            raise
        instruments.duration.observe(perf_counter() - began)
        return rest

    async def _handle_all(self, tx: OpenTransaction, units: Sequence[Unit], began: float) -> Sequence[Unit]:
        fresh = await self._mark(tx, units)
        for index, unit in enumerate(fresh):
            await self._handle(tx, unit)
            if perf_counter() - began > self._longest:
                rest = fresh[index + 1 :]
                await self._forget(tx, [work for unit in rest for work in unit.works])
                return rest
        return ()

    async def _mark(self, tx: OpenTransaction, units: Sequence[Unit]) -> Sequence[Unit]:
        """Mark every message before any handler runs, so that one id twice in a batch is caught; returns the new."""
        inbox = self._surroundings.inbox
        if inbox is None:
            return units
        ids = [work.delivery.message.identity for unit in units for work in unit.works]
        marks = await inbox.mark(tx, ids, self._surroundings.clock.now())
        return units if all(marks) else list(self._without_duplicates(units, marks))

    def _without_duplicates(self, units: Sequence[Unit], marks: Sequence[bool]) -> Iterator[Unit]:
        start = 0
        for unit in units:
            count = len(unit.works)
            duplicates = unit.keep(marks[start : start + count])
            start += count
            self._done += duplicates
            unit.route.instruments.duplicates.inc(len(duplicates))
            if len(duplicates) < count:
                yield unit

    async def _forget(self, tx: OpenTransaction, works: Iterable[Work]) -> None:
        ids = [work.delivery.message.identity for work in works]
        if ids and self._surroundings.inbox is not None:
            await self._surroundings.inbox.forget(tx, ids)

    async def _handle(self, tx: OpenTransaction, unit: Unit) -> None:
        """Attempt, again as the policy says and each time from a clean state, then park."""
        while not self._surroundings.pauses.hold_behind(unit.works):
            final = self._failures.get(unit.last.delivery.message.identity)
            error = final or unit.error or await self._attempt(tx, unit)
            if error is None:
                self._done += unit.works
                return
            if len(unit.works) > 1:
                for part in unit.parts():
                    await self._handle(tx, part)
                return
            decision = self._surroundings.decide(unit.last, unit.attempts, error)
            if decision is Decision.PARK or (final and decision):
                await self._park(tx, unit, reason_of(error))
                return
        await self._forget(tx, unit.works)

    async def _attempt(self, tx: OpenTransaction, unit: Unit) -> Exception | None:
        """Run the handler once; its writes are undone when it fails. Raises what is not the handler's fault."""
        route, message = unit.route, unit.last.delivery.message
        enter((route.instruments.scope, message, len(unit.attempts) + 1))
        began = perf_counter()
        made: list[Outgoing] = []
        await tx.savepoint()
        try:
            result = await self._call(unit, self._surroundings.given(unit.last, tx, unit.details, made))
            if result is not None:
                made += self._surroundings.outgoing(route, message, result, len(made))
            await tx.release()
        except (Exception, asyncio.CancelledError) as error:
            if is_passing(error):
                raise
            failure = self._surroundings.failure_of(error)
            await tx.undo()
            return failure
        for one in made:
            self._senders[one.message.id] = message.identity
        self._outgoing += made
        took = (perf_counter() - began) / len(unit.works)
        route.instruments.durations.observe(took, len(unit.works))
        if self._surroundings.hooks.handled:
            self._told.append((unit, took))
        return None

    async def _call(self, unit: Unit, given: Given) -> object:
        route = unit.route
        result = route.call(unit.event, given)
        coroutine = (
            cast("Coroutine[object, object, object]", result)
            if route.shape is Shape.ASYNC
            else collect(result, route.shape)
        )
        try:
            return await drive(coroutine, route.found_waiting)
        finally:
            given.end()

    async def _park(self, tx: OpenTransaction, unit: Unit, reason: str) -> None:
        """Park a unit. It counts as not handled, so that a redrive can handle it later."""
        await self._forget(tx, unit.works)
        self._parked.append((unit.last, unit.attempts, reason))
        self._done += unit.works

    async def _commit(self, tx: OpenTransaction) -> None:
        surroundings = self._surroundings
        if self._outgoing:
            await self._publish(tx)
        if self._parked:
            await park(tx, [surroundings.letter(*parked) for parked in self._parked])
        confirm = await surroundings.settling.settle_in(tx, [work.delivery for work in self._done])
        await tx.commit()
        confirm()
        surroundings.committed()
        surroundings.sent(self._outgoing)
        for parked in self._parked:
            surroundings.parked(*parked)
        for unit, took in self._told:
            for work in unit.works:
                surroundings.handled(work, len(unit.attempts) + 1, took)

    async def _publish(self, tx: OpenTransaction) -> None:
        try:
            await self._surroundings.publish_in(tx, self._outgoing)
        except PublishError as error:
            for refusal in error.refusals:
                if not refusal.retryable:
                    self._failures[self._senders[refusal.message_id]] = error
            raise
