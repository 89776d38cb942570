"""Running handlers without a transaction: coroutines in their lane, plain functions in a thread, batches as lists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from time import perf_counter
from typing import NamedTuple, cast

from antiphon.observability.context import enter
from antiphon.resilience.policy import Decision
from antiphon.runtime.egress import Egress
from antiphon.runtime.route import Call, Given, Route, collect, gathered
from antiphon.runtime.signature import Shape
from antiphon.runtime.surroundings import FIRST_PAUSE, LONGEST_PAUSE, Surroundings, is_passing, reason_of
from antiphon.runtime.window import FINISHED, WAITING
from antiphon.runtime.work import Work, read
from antiphon.storage.dead_letters import Attempt

log = logging.getLogger("antiphon.runtime")

JSON = "application/json"
LONGEST_SILENCE = 0.02
"""Seconds after which what is finished is told, in the middle of a run, so that it can be settled."""
LONGEST_HOP = 0.05
"""Seconds after which a thread comes back with what it has done, so that it can be settled."""


_PARTITION_OF = attrgetter("delivery.partition")


class Called(NamedTuple):
    """What a call returned, or what it raised, and how many seconds it took."""

    result: object
    error: Exception | None
    took: float


def call_plain(call: Call, shape: Shape, event: object, given: Given) -> object:
    """Call a plain function or generator here, in whatever thread this is."""
    result = call(event, given)
    if shape is Shape.GENERATOR:
        return gathered(cast(Iterable[object], result))
    return result


class AwaitExecutor:
    """Runs works one after another; returns when each is finished, handed to the egress, parked or paused."""

    def __init__(self, surroundings: Surroundings, egress: Egress) -> None:
        self._surroundings, self._egress = surroundings, egress

    async def run(self, works: Sequence[Work]) -> None:
        route = works[0].route
        if route.batch_size is not None:
            await self._run_batches(works, route.batch_size)
        elif route.direct is not None and not self._surroundings.hooks.handled:
            await self._run_direct(works, route)
        else:
            for work in works:
                if self._surroundings.may_begin(work):
                    await self._run_one(work)
                    self._surroundings.dirty.set()
        self._surroundings.dirty.set()

    async def _run_direct(self, works: Sequence[Work], route: Route) -> None:
        """The short path: a coroutine function that takes nothing but its event, no middleware, no hook."""
        function, decode, version = route.direct, route.decode, route.version
        assert function is not None
        surroundings, durations = self._surroundings, list[float]()
        paused = surroundings.pauses.held
        scope = route.instruments.scope
        began = told = perf_counter()
        for work in works:
            delivery = work.delivery
            if delivery.state != WAITING or (paused and surroundings.pauses.hold_behind((work,))):
                continue
            if surroundings.draining:
                break
            message = delivery.message
            enter((scope, message, delivery.attempt))
            data = message.data
            try:
                plain = data is not None and message.schema_version <= version and message.content_type == JSON
                event = decode(cast(bytes, data)) if plain else read(route, message)
            except Exception:  # read again on the long path, which explains what does not fit
                await self._run_one(work)
                continue
            failure = None
            try:
                result = await function(event)
                if result is not None:
                    self.emit((work,), result)
                elif delivery.state == WAITING:
                    delivery.state = FINISHED
            except (Exception, asyncio.CancelledError) as error:
                failure = self._surroundings.failure_of(error)
            if failure is not None:  # not in the clause above, where its traceback would begin every later one
                await self.failed(work, failure)
            now = perf_counter()
            durations.append(now - began)
            began = now
            if now - told > LONGEST_SILENCE:
                surroundings.dirty.set()
                told = now
        route.instruments.durations.observe_many(durations)

    async def _run_one(self, work: Work) -> None:
        try:
            await self._attempt(work, 1)
        except (Exception, asyncio.CancelledError) as error:
            failure = self._surroundings.failure_of(error)
        else:
            return
        await self.failed(work, failure)

    async def _attempt(self, work: Work, number: int) -> None:
        delivery, route = work.delivery, work.route
        message = delivery.message
        enter((route.instruments.scope, message, number))
        began = perf_counter()
        event = read(route, message)
        details = await route.fetcher(event) if route.fetcher is not None else None
        given = self._surroundings.given(work, None, details, None)
        events: object = event if route.batch_size is None else [event]
        result = await self._call(route, events, given)
        duration = perf_counter() - began
        route.instruments.durations.observe(duration)
        self.emit((work,), result, 0 if given.publisher is None else given.publisher.count)
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
        """Try again as the policy says, then park. What can pass is waited for and counts as no attempt."""
        attempts: list[Attempt] = []
        pause = FIRST_PAUSE
        while self._surroundings.may_begin(work):
            if is_passing(error):
                await self._surroundings.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            elif (decision := self._surroundings.decide(work, attempts, error)) is not Decision.AGAIN:
                if decision is Decision.PARK:
                    self._surroundings.park(work, attempts, reason_of(error))
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
                batch = [work for work in of_one[start : start + size] if self._surroundings.may_begin(work)]
                if batch:
                    await self._run_batch(batch)

    async def _run_batch(self, works: Sequence[Work]) -> None:
        """One call for all; when it fails each is tried alone, so that only the bad one is retried and parked."""
        try:
            await self._attempt_batch(works)
        except (Exception, asyncio.CancelledError) as error:
            failure = self._surroundings.failure_of(error)
            if len(works) == 1:
                await self.failed(works[0], failure)
                return
            log.warning("a batch of %d failed, each is tried alone", len(works), exc_info=failure)
            for work in works:
                if self._surroundings.may_begin(work):
                    await self._run_batch([work])

    async def _attempt_batch(self, works: Sequence[Work]) -> None:
        route, last = works[0].route, works[-1]
        enter((route.instruments.scope, last.delivery.message, last.delivery.attempt))
        began = perf_counter()
        events = [read(route, work.delivery.message) for work in works]
        given = self._surroundings.given(last, None, None, None)
        result = await self._call(route, events, given)
        took = (perf_counter() - began) / len(works)
        route.instruments.durations.observe(took, len(works))
        self.emit(works, result, 0 if given.publisher is None else given.publisher.count)
        for work in works:
            self._surroundings.handled(work, 1, took)


class ThreadExecutor:
    """Runs plain functions: one hop to a thread for a whole run, in order; a failure is dealt with before going on."""

    def __init__(self, surroundings: Surroundings, one_by_one: AwaitExecutor) -> None:
        self._surroundings, self._one_by_one = surroundings, one_by_one

    async def run(self, works: Sequence[Work]) -> None:
        route = works[0].route
        if route.batch_size is not None or route.fetcher is not None:
            await self._one_by_one.run(works)
            return
        todo: list[Work] = [work for work in works if self._surroundings.may_begin(work)]
        while todo:
            done = await asyncio.to_thread(self._call_some, route, todo)
            for work, called in zip(todo, done, strict=False):
                await self._settle(work, called)
            self._surroundings.dirty.set()
            todo = [work for work in todo[len(done) :] if self._surroundings.may_begin(work)]

    def _call_some(self, route: Route, works: Sequence[Work]) -> list[Called]:
        """Call for some of `works`: until one fails, it has taken long, or a drain began."""
        began = previous = perf_counter()
        done: list[Called] = []
        for work in works:
            message = work.delivery.message
            enter((route.instruments.scope, message, work.delivery.attempt))
            try:
                result = call_plain(route.call, route.shape, read(route, message), Given(work.delivery))
            except Exception as error:
                done.append(Called(None, error, perf_counter() - previous))
                break
            now = perf_counter()
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
            self._surroundings.handled(work, 1, called.took)
        else:
            await self._one_by_one.failed(work, error)
