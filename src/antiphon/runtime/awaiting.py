"""Running handlers without a transaction: coroutines in their lane, plain functions in a thread, batches as lists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import groupby
from math import inf
from operator import attrgetter
from typing import NamedTuple, cast

from antiphon.brokers.ports import Delivery
from antiphon.errors import ItemsFailedError
from antiphon.observability.context import enter
from antiphon.resilience.policy import Decision
from antiphon.runtime.egress import Egress
from antiphon.runtime.gate import Gate
from antiphon.runtime.lanes import More
from antiphon.runtime.route import Given, Route, call_plain, collect
from antiphon.runtime.signature import Shape
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing
from antiphon.runtime.units import tried_together
from antiphon.runtime.verdicts import Verdicts
from antiphon.runtime.window import FINISHED, SHELVED, WAITING
from antiphon.runtime.work import Work, mark_of, read, tried

log = logging.getLogger("antiphon.runtime")

JSON = "application/json"
LONGEST_SILENCE = 0.02
"""Seconds after which what is finished is told, in the middle of a run, so that it can be settled."""
MARKED_AT_ONCE = 100
"""Messages whose marks share a commit, where a handler runs at most once."""
LONGEST_TURN = 0.02
"""Seconds that handlers who never wait may keep the event loop before it turns once: whatever settles what they did,
keeps leases, or hears of a stop, is in the same loop.
"""
LONGEST_HOP = 0.05
"""Seconds after which a thread comes back with what it has done, so that it can be settled."""


_PARTITION_OF = attrgetter("delivery.partition")


DirectCall = Callable[[object], Awaitable[object]]


class Called(NamedTuple):
    """What a call returned, or what it raised, and how many seconds it took."""

    result: object
    error: Exception | None
    took: float


class DirectRun:
    """What attempts on the short path came to, since it was told last."""

    __slots__ = ("durations", "generation", "route", "told")

    def __init__(self, route: Route, now: float) -> None:
        self.route, self.told = route, now
        self.durations: list[float] = []
        self.generation = 0 if route.gate is None else route.gate.generation

    def fails(self, delivery: Delivery) -> None:
        """An attempt failed, which the gate is told by name."""
        if self.route.gate is not None:
            self.route.gate.began(delivery, self.generation)

    def names(self, took: float) -> None:
        """An attempt succeeded that the gate is told of by name."""
        self.route.instruments.durations.observe(took)

    def tell(self, gate: Gate) -> None:
        """Tell the gate of the successes, and go on in its present generation."""
        limit = gate.slow
        # Most often none is, which the longest one tells soonest.
        is_any_slow = limit != inf and max(self.durations, default=0.0) >= limit
        slow = sum([took >= limit for took in self.durations]) if is_any_slow else 0
        gate.note(self.generation, len(self.durations), slow)
        self.generation = gate.generation


def of_one(error: Exception) -> Exception:
    """The failure of a batch of one, where that names its item."""
    return error.items[0] if isinstance(error, ItemsFailedError) and error.fits(1) else error


class AwaitExecutor:
    """Runs works one after another; returns when each is finished, handed to the egress, parked or paused."""

    def __init__(self, surroundings: Surroundings, egress: Egress, verdicts: Verdicts) -> None:
        self._surroundings, self._egress, self._verdicts = surroundings, egress, verdicts
        self._admission = surroundings.admission
        self._turn = 0.0
        """When the loop is known to have turned last, by the stopwatch."""
        self._is_turning = False

    async def run(self, works: Sequence[Work], more: More) -> None:
        route = works[0].route
        if route.settles_first:
            await self._run_at_most_once(works)
        elif route.batch_size is not None:
            await self._run_batches(works, route.batch_size)
        elif route.direct is not None and not self._surroundings.hooks.handled:
            await self._run_on(works, route, more)  # which tells by itself
            return
        else:
            for work in works:
                if self._admission.admits(work):
                    await self._run_one(work)
                    self._surroundings.dirty.set()
                    if self._surroundings.stopwatch() - self._turn > LONGEST_TURN:
                        await self._let_loop_turn()
        self._surroundings.dirty.set()

    async def _run_at_most_once(self, works: Sequence[Work]) -> None:
        """Mark some in the inbox, then run those that are new: what is marked is never begun a second time.

        The mark is taken back of what could not begin after all, and, in the commit that sets it aside, of what is
        parked, for its redrive.
        """
        for start in range(0, len(works), MARKED_AT_ONCE):
            left: Sequence[Work] = works[start : start + MARKED_AT_ONCE]
            while left:
                admitted, left = self._admission.first_of(left)
                for work in await self._surroundings.patiently(partial(self._marked, admitted)):
                    if self._admission.admits(work):
                        await self._run_one(work)
                        has_begun = id(work.delivery) not in self._admission.held.get(work.delivery.partition, ())
                    else:
                        has_begun = False
                    if work.delivery.state == SHELVED:
                        continue  # its mark goes with the commit that sets it aside
                    if work.delivery.state == FINISHED or not has_begun:
                        self._surroundings.shelf.unmark(work.delivery)
                    if not has_begun:
                        await self._surroundings.patiently(partial(self._unmark, work))
            self._surroundings.dirty.set()

    async def _marked(self, works: Sequence[Work]) -> list[Work]:
        inbox, surroundings = self._surroundings.inbox, self._surroundings
        assert inbox is not None, "settle='first' is refused without an inbox"
        if not works:
            return []
        ids = [mark_of(work) for work in works]
        async with surroundings.store.transaction() as tx:
            marks = await inbox.mark(tx, ids, surroundings.clock.now())
        for work, is_new in zip(works, marks, strict=True):
            if not is_new:
                surroundings.repeated(work)
                surroundings.finished(work.delivery)
        new = [work for work, is_new in zip(works, marks, strict=True) if is_new]
        surroundings.shelf.mark({work.delivery: mark_of(work) for work in new})
        return new

    async def _unmark(self, work: Work) -> None:
        if self._surroundings.inbox is not None and work.delivery.state != FINISHED:
            async with self._surroundings.store.transaction() as tx:
                await self._surroundings.inbox.forget(tx, [mark_of(work)])

    async def _run_on(self, works: Sequence[Work], route: Route, more: More) -> None:
        """The short path of this run and of all that are ready after it."""
        run = DirectRun(route, self._surroundings.stopwatch())
        while works:
            await self._run_direct(works, route, run)
            self._surroundings.dirty.set()
            works = more()
        self._note(run, run.told)

    async def _run_direct(self, works: Sequence[Work], route: Route, run: DirectRun) -> None:
        """Call a coroutine function that takes nothing but its event, with no middleware and no hook."""
        function = cast(DirectCall, route.direct)
        surroundings, admission, decode, version = self._surroundings, self._admission, route.decode, route.version
        stopwatch, held, blocks, special = surroundings.stopwatch, admission.held, admission.blocks, admission.special
        scope, durations, gate = route.instruments.scope, run.durations, route.gate
        began = stopwatch()
        for work in works:
            delivery, message = work.delivery, work.delivery.message
            by_name = held or special or message.deadline is not None or (blocks.any and blocks.may_hold(delivery))
            if delivery.state != WAITING or admission.draining or (by_name and not admission.admits(work)):
                continue
            enter((scope, message, delivery.attempt))
            data, failure = message.data, None
            try:
                plain = message.schema_version <= version and message.content_type == JSON
                event = decode(data) if plain and data is not None else read(route, message)
            except Exception:  # read again on the long path, which explains what does not fit
                await self._run_one(work)
                continue
            try:
                result = await function(event)
                if result is not None:
                    self.emit((work,), result)
                elif delivery.state == WAITING:
                    delivery.state = FINISHED
            except (Exception, asyncio.CancelledError) as error:
                failure = surroundings.failure_of(error)
            now = stopwatch()
            if failure is not None:  # not in the clause above, where its traceback would begin every later one
                run.fails(delivery)
                await self.failed(work, failure)
                now = stopwatch()
            elif by_name and gate is not None:
                run.names(now - began)
                surroundings.succeeded(work, now - began)
            else:
                durations.append(now - began)
            if (began := now) - run.told > LONGEST_SILENCE:
                self._note(run, now)
            if now - self._turn > LONGEST_TURN:
                began = await self._let_loop_turn()

    async def _let_loop_turn(self) -> float:
        """Let everybody else run once, also who settles what is finished; returns what the stopwatch shows then."""
        self._surroundings.dirty.set()
        # Until it has turned, whoever runs in another lane gives way after one message, too.
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turned)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            self._surroundings.failure_of(error)  # which raises it, unless it was a handler's and came late
        return self._surroundings.stopwatch()

    def _turned(self) -> None:
        self._turn, self._is_turning = self._surroundings.stopwatch(), False

    def _note(self, run: DirectRun, now: float) -> None:
        """Tell how long attempts took, and the gate how they went."""
        run.told = now
        self._surroundings.dirty.set()
        run.route.instruments.durations.observe_many(run.durations)
        if run.route.gate is not None:
            run.tell(run.route.gate)
            self._surroundings.gates.tell(run.route.gate)
        run.durations.clear()

    async def _run_one(self, work: Work) -> bool:
        """Attempt, and go on as the policy says where that fails; says whether the first attempt succeeded."""
        try:
            await self._attempt(work, len(work.past) + 1)
        except (Exception, asyncio.CancelledError) as error:
            failure = self._surroundings.failure_of(error)
        else:
            return True
        await self.failed(work, failure)
        return False

    async def _attempt(self, work: Work, number: int) -> None:
        delivery, route = work.delivery, work.route
        message = delivery.message
        enter((route.instruments.scope, message, number))
        began = self._surroundings.stopwatch()
        if route.gate is not None:
            route.gate.began(delivery, route.gate.generation)
        event = read(route, message)
        details = await route.fetcher(event) if route.fetcher is not None else None
        given = self._surroundings.given(work, None, details, None)
        events: object = event if route.batch_size is None else [event]
        result = await self._call(route, events, given)
        duration = self._surroundings.stopwatch() - began
        route.instruments.durations.observe(duration)
        self.emit((work,), result, 0 if given.publisher is None else given.publisher.count)
        self._surroundings.succeeded(work, duration)
        self._surroundings.handled(work, number, duration)

    async def _call(self, route: Route, event: object, given: Given) -> object:
        if route.shape not in (Shape.ASYNC, Shape.ASYNC_GENERATOR):
            return await asyncio.to_thread(call_plain, route.call, route.shape, event, given)
        try:
            return await collect(route.call(event, given), route.shape)
        finally:
            given.end()

    def emit(self, works: Sequence[Work], result: object, first: int = 0) -> None:
        """Publish what was returned, then finish `works`; finish them at once when there is nothing."""
        last = works[-1]
        made = self._surroundings.outgoing(last.route, last.delivery.message, result, first)
        if made:
            self._egress.put(works, made)
            return
        for work in works:
            self._surroundings.finished(work.delivery)

    async def failed(self, work: Work, error: Exception) -> None:
        """Go on as the policy says. What can pass by itself is waited for and counts as no attempt."""
        attempts = list(work.past)
        pause = FIRST_PAUSE
        while self._admission.goes_on(work):
            error = of_one(error)
            if is_passing(error) and not work.route.settles_first:
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
            try:
                await self._attempt(work, len(attempts) + 1)
                return
            except (Exception, asyncio.CancelledError) as again:
                error = self._surroundings.failure_of(again)

    async def _run_batches(self, works: Sequence[Work], size: int) -> None:
        for _, neighbors in groupby(works, _PARTITION_OF):
            of_one = list(neighbors)
            for start in range(0, len(of_one), size):
                for together in tried_together(of_one[start : start + size]):
                    left: Sequence[Work] = together
                    while left:
                        batch, left = self._admission.first_of(left)
                        if batch:
                            await self._run_batch(batch)

    async def _run_batch(self, works: Sequence[Work]) -> None:
        """One call for all. When it fails and names items, only those are tried again; else each is tried alone."""
        try:
            await self._attempt_batch(works)
        except (Exception, asyncio.CancelledError) as error:
            failure = self._surroundings.failure_of(error)
        else:
            return
        if isinstance(failure, ItemsFailedError) and failure.fits(len(works)):
            await self._sort_out(works, failure)
        elif len(works) == 1:
            await self.failed(works[0], failure)
        else:
            log.warning("a batch of %d failed, each is tried alone", len(works), exc_info=failure)
            for work in works:
                if self._admission.admits(work):
                    await self._run_batch([work])

    async def _sort_out(self, works: Sequence[Work], failure: ItemsFailedError) -> None:
        """Finish what was not named, then go on with each named item as its own failure says."""
        good = [work for index, work in enumerate(works) if index not in failure.items]
        failures = [(works[index], error) for index, error in sorted(failure.items.items())]
        try:
            if good:
                self.emit(good, failure.emits)
                self._surroundings.succeeded_together(good, 0)
        except Exception as undeclared:
            failures += [(work, undeclared) for work in good]
        for work, error in failures:
            await self.failed(work, error)

    async def _attempt_batch(self, works: Sequence[Work]) -> None:
        route, last = works[0].route, works[-1]
        enter((route.instruments.scope, last.delivery.message, last.delivery.attempt))
        began = self._surroundings.stopwatch()
        if route.gate is not None:
            route.gate.began_together(works)
        events = [read(route, work.delivery.message) for work in works]
        given = self._surroundings.given(last, None, None, None)
        result = await self._call(route, events, given)
        took = (self._surroundings.stopwatch() - began) / len(works)
        route.instruments.durations.observe(took, len(works))
        self.emit(works, result, 0 if given.publisher is None else given.publisher.count)
        self._surroundings.succeeded_together(works, took * len(works))
        for work in works:
            self._surroundings.handled(work, len(work.past) + 1, took)


class ThreadExecutor:
    """Runs plain functions: one hop to a thread for a whole run, in order; a failure is dealt with before going on."""

    def __init__(self, surroundings: Surroundings, one_by_one: AwaitExecutor) -> None:
        self._surroundings, self._one_by_one = surroundings, one_by_one

    async def run(self, works: Sequence[Work], more: More) -> None:
        route = works[0].route
        if route.batch_size is not None or route.fetcher is not None or route.settles_first:
            await self._one_by_one.run(works, more)
            return
        todo, later = self._surroundings.admission.first_of(works)
        while todo:
            if route.gate is not None:
                for work in todo:
                    route.gate.began(work.delivery, route.gate.generation)
            done = await asyncio.to_thread(self._call_some, route, todo)
            for work, called in zip(todo, done, strict=False):
                await self._settle(work, called)
            self._surroundings.dirty.set()
            todo, later = self._surroundings.admission.first_of([*todo[len(done) :], *later])

    def _call_some(self, route: Route, works: Sequence[Work]) -> list[Called]:
        """Call for some of `works`: until one fails, it has taken long, or a drain began."""
        began = previous = self._surroundings.stopwatch()
        done: list[Called] = []
        for work in works:
            message = work.delivery.message
            enter((route.instruments.scope, message, work.delivery.attempt))
            try:
                result = call_plain(route.call, route.shape, read(route, message), Given(work.delivery))
            except Exception as error:
                done.append(Called(None, error, self._surroundings.stopwatch() - previous))
                break
            now = self._surroundings.stopwatch()
            done.append(Called(result, None, now - previous))
            route.instruments.durations.observe(now - previous)
            previous = now
            if self._surroundings.draining or now - began > LONGEST_HOP:
                break
        return done

    async def _settle(self, work: Work, called: Called) -> None:
        error = called.error
        if error is None:
            try:
                self._one_by_one.emit((work,), called.result)
            except Exception as undeclared:
                error = undeclared
        if error is None:
            self._surroundings.succeeded(work, called.took)
            self._surroundings.handled(work, len(work.past) + 1, called.took)
        else:
            await self._one_by_one.failed(work, error)
