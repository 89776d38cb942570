"""One transaction for many messages: inbox marks, writes, what is emitted and the watermark commit together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import cast

from antiphon.brokers.ports import Delivery
from antiphon.errors import ItemsFailedError, PublishError
from antiphon.events.message import Outgoing
from antiphon.observability.context import enter
from antiphon.resilience import Decision
from antiphon.runtime.admission import DEADLINE
from antiphon.runtime.awaiting import of_one
from antiphon.runtime.claims import claim_of
from antiphon.runtime.driving import drive
from antiphon.runtime.route import Given, collect
from antiphon.runtime.shelf import break_run
from antiphon.runtime.signature import Shape
from antiphon.runtime.surroundings import Surroundings, is_passing
from antiphon.runtime.units import Unit
from antiphon.runtime.verdicts import Verdicts
from antiphon.runtime.work import Work, mark_of, tried
from antiphon.storage.database import OpenTransaction
from antiphon.storage.set_aside import AsideState, Lane, SetAside

_GOES_ON = (Decision.AGAIN, Decision.LATER)
Failures = dict[str, Exception]
"""Messages, by identity, whose handling succeeded but whose events the broker refused for good."""


class PartsNeededError(Exception):
    """A handler failed in a transaction without parts: nothing of it can stay, and it is run again in parts."""

    def __init__(self, delivery: Delivery, failure: Exception) -> None:
        super().__init__("a handler failed in a transaction that has no parts")
        self.delivery = delivery
        """The last one of those that it failed on."""
        self.failure = failure


class BatchTransaction:
    """One shot: runs units one after another in one transaction and commits.

    A failed handler's writes are undone alone, and its retry or dead letter is part of the same transaction. Without
    `parts`, which cost a round trip each on a server, nothing can be undone alone: then a failure ends it. What
    `failed` so is not attempted again for that.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        verdicts: Verdicts,
        failures: Failures,
        longest: timedelta,
        *,
        failed: PartsNeededError | None = None,
        parts: bool = True,
    ) -> None:
        self._surroundings, self._verdicts = surroundings, verdicts
        self._failed, self._has_parts = failed, parts
        self._longest = longest.total_seconds()
        self._failures = failures
        self._outgoing: list[Outgoing] = []
        self._senders: dict[str, str] = {}
        self._aside: list[tuple[Work, SetAside]] = []
        self._shelved: list[Work] = []
        """Those that are set aside by another transaction."""
        self._blocked: set[Lane] = set()
        """Lanes that something was set aside of in here."""
        self._back: list[Work] = []
        """Claimed works behind one that failed."""
        self._twins: list[Work] = []
        """Works of the same mark as another one in here: over when that is."""
        self._done: list[Work] = []
        self._duplicates: list[Work] = []
        self._told: list[tuple[Work, int, float]] = []
        self._tx: OpenTransaction | None = None

    async def run(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Commit as many of `units` as time allows; returns the rest. When it raises, nothing happened."""
        instruments = self._surroundings.instruments
        asked = self._surroundings.stopwatch()
        tx = self._tx = await self._surroundings.store.begin()
        began = self._surroundings.stopwatch()
        instruments.wait.observe(began - asked)
        try:
            rest = await self._handle_all(tx, units, began)
            await self._commit(tx)
        except BaseException:
            await tx.rollback()
            raise
        instruments.duration.observe(self._surroundings.stopwatch() - began)
        return rest

    async def give_up(self) -> None:
        """Undo everything, while a handler runs that nothing ends."""
        if self._tx is not None:
            await self._tx.rollback()

    async def _handle_all(self, tx: OpenTransaction, units: Sequence[Unit], began: float) -> Sequence[Unit]:
        fresh = await self._mark(tx, units)
        for index, unit in enumerate(fresh):
            await self._handle(tx, unit, self._failure_of(unit))
            if self._surroundings.stopwatch() - began > self._longest:
                rest = fresh[index + 1 :]
                await self._forget(tx, [work for unit in rest for work in unit.works])
                return [*rest, *self._left_twins()]
        return self._left_twins()

    def _left_twins(self) -> Sequence[Unit]:
        """Those whose other one is neither handled nor set aside; a queue would forget both with either."""
        if not self._twins:
            return ()
        over = {mark_of(work) for work in (*self._done, *self._shelved, *(work for work, _ in self._aside))}
        self._done += [work for work in self._twins if mark_of(work) in over]
        return [Unit([work]) for work in self._twins if mark_of(work) not in over]

    async def _mark(self, tx: OpenTransaction, units: Sequence[Unit]) -> Sequence[Unit]:
        """Mark every message before any handler runs, so that one id twice in a batch is caught; returns the new."""
        inbox = self._surroundings.inbox
        if inbox is None:
            return units
        ids = [mark_of(work) for unit in units for work in unit.works]
        marks = await inbox.mark(tx, ids, self._surroundings.clock.now())
        return units if all(marks) else list(self._without_duplicates(units, marks))

    def _without_duplicates(self, units: Sequence[Unit], marks: Sequence[bool]) -> Iterator[Unit]:
        start = 0
        works = [work for unit in units for work in unit.works]
        fresh = {mark_of(work) for work, is_new in zip(works, marks, strict=True) if is_new}
        for unit in units:
            count = len(unit.works)
            duplicates = unit.keep(marks[start : start + count])
            start += count
            for work in duplicates:
                (self._twins if mark_of(work) in fresh else self._done).append(work)
            self._duplicates += duplicates
            if len(duplicates) < count:
                yield unit

    async def _forget(self, tx: OpenTransaction, works: Iterable[Work]) -> None:
        ids = [mark_of(work) for work in works]
        if ids and self._surroundings.inbox is not None:
            await self._surroundings.inbox.forget(tx, ids)

    async def _handle(self, tx: OpenTransaction, unit: Unit, error: Exception | None = None) -> None:
        """Attempt, again as the policy says and each time from a clean state, then set aside. `error`: it failed."""
        while error is not None or await self._admit(tx, unit):
            error = error or self._known_failure(unit) or await self._attempt(tx, unit)
            if error is None:
                self._done += unit.works
                return
            if len(unit.works) > 1:
                await self._divide(tx, unit, error)
                return
            if await self._is_decided(tx, unit, of_one(error)):
                return
            error = None

    def _failure_of(self, unit: Unit) -> Exception | None:
        """How its attempt failed in the transaction that this one repeats."""
        failed = self._failed
        return None if failed is None or failed.delivery is not unit.last.delivery else failed.failure

    def _known_failure(self, unit: Unit) -> Exception | None:
        """Why attempting would be in vain: its events were refused for good, or it cannot be read."""
        return self._failures.get(unit.last.delivery.message.identity) or unit.error

    async def _admit(self, tx: OpenTransaction, unit: Unit) -> bool:
        """Keep of a unit what may begin; false when nothing may. The others are where they belong, unmarked."""
        kept = [work for work in unit.works if self._may_begin(work)]
        if len(kept) == len(unit.works):
            return True
        await self._forget(tx, [work for work in unit.works if work not in kept])
        if kept:
            unit.works = kept
            unit.read()
        return bool(kept)

    def _may_begin(self, work: Work) -> bool:
        surroundings = self._surroundings
        lane = surroundings.blocks.lane_of(work) if self._blocked else None
        if lane is None or lane not in self._blocked:
            return surroundings.admission.lets_in(work) and not self._is_late(work)
        if claim_of(work.delivery) is not None:
            self._back.append(work)
        else:
            self._aside.append((work, surroundings.asides.behind(work)))
        return False

    async def _divide(self, tx: OpenTransaction, unit: Unit, error: Exception) -> None:
        """Go on with each item that failed alone: those that the handler named, or else all of them."""
        if isinstance(error, ItemsFailedError) and error.fits(len(unit.works)):
            self._done += [work for index, work in enumerate(unit.works) if index not in error.items]
            for index, failure in sorted(error.items.items()):
                await self._handle(tx, Unit([unit.works[index]]), failure)
        else:
            for part in unit.parts():
                await self._handle(tx, part)

    async def _is_decided(self, tx: OpenTransaction, unit: Unit, error: Exception) -> bool:
        """Decide on a failed attempt, and set the unit aside or let it go; false when it is attempted again."""
        work = unit.last
        step = self._verdicts.decide(work, unit.attempts, error)
        if step is not None and work.delivery.message.identity in self._failures and step.decision in _GOES_ON:
            step = self._verdicts.given_up(work, error)
        if step is not None and step.decision is Decision.AGAIN:
            unit.works = [tried(work, unit.attempts)]
            return False
        if step is not None and step.decision is Decision.IGNORE:
            self._verdicts.ignore(work, error)
            self._done.append(work)
            return True
        # It counts as not handled, so that a retry or redrive can handle it later.
        await self._forget(tx, unit.works)
        if step is not None:
            self._set_aside(work, self._verdicts.aside(work, unit.attempts, step, error))
        return True

    def _set_aside(self, work: Work, item: SetAside) -> None:
        """Keep it, and let what follows in its lane go behind it."""
        surroundings = self._surroundings
        is_elsewhere = item.state is AsideState.PARKED and surroundings.dead_letters is not None
        if is_elsewhere or surroundings.settling.claims.settles_later:
            # Outside of this transaction, where the broker is asked, and where the store does not refuse the turn.
            surroundings.asides.put(work, item)
            self._shelved.append(work)
            return
        self._aside.append((work, item))
        if item.lane is not None:
            self._blocked.add((item.topic, item.lane))

    def _is_late(self, work: Work) -> bool:
        """Whether its deadline has passed: then it is parked, after what came before it; a request is dropped."""
        surroundings = self._surroundings
        if work.delivery.message.deadline is None or not surroundings.admission.is_late(work):
            return False
        if work.route.reply is None:
            self._set_aside(work, surroundings.asides.parked(work, work.past, DEADLINE, None))
        else:
            self._done.append(work)
        return True

    async def _attempt(self, tx: OpenTransaction, unit: Unit) -> Exception | None:
        """Run the handler once; its writes are undone when it fails. Raises what is not the handler's fault.

        Without parts it raises PartsNeededError for a failure.
        """
        route, message = unit.route, unit.last.delivery.message
        enter((route.instruments.scope, message, len(unit.attempts) + 1))
        began = self._surroundings.stopwatch()
        made: list[Outgoing] = []
        if route.gate is not None:
            route.gate.began_together(unit.works)
        if self._has_parts:
            await tx.savepoint()
        named: ItemsFailedError | None = None
        try:
            try:
                result = await self._call(unit, self._surroundings.given(unit.last, tx, unit.details, made))
            except ItemsFailedError as error:
                if len(unit.works) == 1 or not error.fits(len(unit.works)):
                    raise
                named, result = error, error.emits
            if result is not None:
                made += self._surroundings.outgoing(route, message, result, len(made))
            if self._has_parts:
                await tx.release()
        except (Exception, asyncio.CancelledError) as error:
            if is_passing(error):
                raise
            failure = self._surroundings.failure_of(error)
            if not self._has_parts:
                raise PartsNeededError(unit.last.delivery, failure) from failure
            await tx.undo()
            return failure
        for one in made:
            self._senders[one.message.id] = message.identity
        self._outgoing += made
        self._note(unit, self._surroundings.stopwatch() - began, () if named is None else named.items)
        return named

    def _note(self, unit: Unit, took: float, named: Collection[int]) -> None:
        """Measure an attempt that did not fail as a whole, but only for the items `named`."""
        share = took / len(unit.works)
        unit.route.instruments.durations.observe(share, len(unit.works))
        good = [work for index, work in enumerate(unit.works) if index not in named]
        self._surroundings.succeeded_together(good, took)
        if self._surroundings.hooks.handled:
            self._told += [(work, len(unit.attempts) + 1, share) for work in good]

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

    async def _commit(self, tx: OpenTransaction) -> None:
        surroundings = self._surroundings
        if self._outgoing:
            await self._publish(tx)
        moved = await surroundings.shelf.write(tx, [(work.delivery, item) for work, item in self._aside])
        done = [*self._done, *(work for work, _ in self._aside)]
        confirm = await surroundings.settling.settle_in(tx, [work.delivery for work in done], moved)
        await tx.commit()
        confirm()
        surroundings.committed()
        for work in self._duplicates:
            surroundings.repeated(work)
        self._tell_aside()
        for work, attempt, took in self._told:
            surroundings.handled(work, attempt, took)

    def _tell_aside(self) -> None:
        surroundings = self._surroundings
        surroundings.blocks.store([None if item.lane is None else (item.topic, item.lane) for _, item in self._aside])
        for work, item in self._aside:
            break_run(work.delivery)
            surroundings.asides.told(work, item)
        for work in self._back:
            surroundings.admission.give_back(work)
        if self._aside:
            surroundings.set_aside_news.set()

    async def _publish(self, tx: OpenTransaction) -> None:
        try:
            await self._surroundings.publish_in(tx, self._outgoing)
        except PublishError as error:
            self._surroundings.sending.failed([refusal.topic for refusal in error.refusals], error)
            for refusal in error.refusals:
                if not refusal.retryable:
                    self._failures[self._senders[refusal.message_id]] = error
            raise
