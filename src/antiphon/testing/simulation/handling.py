"""How does a simulation stand between routes and their handlers? It delays them, and lets them fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import cast

from antiphon.errors import ItemsFailedError
from antiphon.events.ids import repeatable_id
from antiphon.events.message import Message
from antiphon.observability.context import current
from antiphon.resilience import Fault
from antiphon.runtime.route import Call, Given, Mode, Route, events_of
from antiphon.runtime.signature import Shape
from antiphon.schemas.codec import EventCodec
from antiphon.testing.simulation.record import Key, Sight
from antiphon.testing.simulation.seat import Seat
from antiphon.testing.simulation.troubles import Ailment, OutageError, Trouble, draw_ailment, error_of
from antiphon.testing.simulation.watch import Raised, Run, Watch

_EFFECT = "insert into simulated_effects (consumer_group, identity) values (?, ?)"
_AILING = 0.25
"""The share of messages that fail at first, usually."""


class RememberingCodec:
    """A codec that keeps which message each event was read from: a batch handler is given events only."""

    def __init__(self, codec: EventCodec[object]) -> None:
        self.declaration, self._codec = codec.declaration, codec
        self._read: dict[int, tuple[object, Message]] = {}

    def read(self, message: Message, *, accept_newer: bool = False) -> object:
        event = self._codec.read(message, accept_newer=accept_newer)
        self._read[id(event)] = event, message
        return event

    def messages_of(self, events: Sequence[object]) -> list[Message]:
        """What these were read from."""
        return [self._read[id(event)][1] for event in events]


class Meddling:
    """Stands between one route of one process and its handler."""

    def __init__(self, seat: Seat, watch: Watch, group: str, route: Route, *, once: bool) -> None:
        self._seat, self._watch, self._record = seat, watch, seat.world.record
        self._group, self._sight = group, Sight.of(route, once=once)
        declared = route.codec.declaration
        self._record.sights[group][declared.topic, declared.name] = self._sight
        seat.stopped.know(group, route)
        self._inner = route.call
        self._is_batch = route.batch_size is not None
        self._codec = RememberingCodec(route.codec)
        if self._is_batch:
            # It is asked for nothing but what it offers: to read.
            route.codec = cast(EventCodec[object], self._codec)
        if route.direct is not None:
            route.direct = self._direct(route.direct)
        self._is_plain = route.shape in (Shape.PLAIN, Shape.GENERATOR)
        calls: dict[Shape, Call] = {
            Shape.ASYNC: self._call,
            Shape.ASYNC_GENERATOR: self._stream,
            Shape.PLAIN: self._call_plain,
            Shape.GENERATOR: self._stream_plain,
        }
        route.call = calls[route.shape]

    def _direct(self, function: Callable[[object], Awaitable[object]]) -> Callable[[object], Awaitable[object]]:
        async def direct(event: object) -> object:
            handling = current()
            assert handling is not None, "a handler runs"
            assert handling[1] is not None, "it has a message in hand"
            with self._attempt([handling[1]], None) as attempt:
                await attempt.begin()
                result = await function(event)
                await attempt.end(result)
                return result

        return direct

    async def _call(self, event: object, given: Given) -> object:
        if self._is_batch:
            return await self._call_batch(cast("list[object]", event), given)
        with self._attempt(self._messages(event, given), given) as attempt:
            await attempt.begin()
            result = await cast("Awaitable[object]", self._inner(event, given))
            await attempt.end(result)
            return result

    async def _call_batch(self, events: list[object], given: Given) -> object:
        with self._attempt(self._messages(events, given), given) as attempt:
            bad = attempt.named()
            if not bad:
                await attempt.begin()
            good = [event for index, event in enumerate(events) if index not in bad]
            result = await cast("Awaitable[object]", self._inner(good, given)) if good else None
            await attempt.end(result)
            return result

    async def _stream(self, event: object, given: Given) -> AsyncIterator[object]:
        made: list[object] = []
        with self._attempt(self._messages(event, given), given) as attempt:
            await attempt.begin()
            async for each in cast("AsyncIterable[object]", self._inner(event, given)):
                made.append(each)
                yield each
            await attempt.end(made)

    def _call_plain(self, event: object, given: Given) -> object:
        with self._attempt(self._messages(event, given), given) as attempt:
            attempt.fail_early()
            result = self._inner(event, given)
            attempt.fail_late(result)
            return result

    def _stream_plain(self, event: object, given: Given) -> Iterator[object]:
        made: list[object] = []
        with self._attempt(self._messages(event, given), given) as attempt:
            attempt.fail_early()
            for each in cast("Iterable[object]", self._inner(event, given)):
                made.append(each)
                yield each
            attempt.fail_late(made)

    def _messages(self, event: object, given: Given) -> list[Message]:
        return self._codec.messages_of(cast("list[object]", event)) if self._is_batch else [given.delivery.message]

    @contextmanager
    def _attempt(self, messages: Sequence[Message], given: Given | None) -> Generator[Attempt]:
        tx = None if given is None else given.transaction
        runs = self._watch.begin(self._seat, self._group, self._sight, messages, tx)
        try:
            yield Attempt(self._seat, self._watch, runs, can_wait=not self._is_plain)
        except BaseException as error:
            self._watch.fail(runs, error)
            raise
        for run in runs:
            self._watch.succeed(run)


class Attempt:
    """One call of a handler, and what is to become of it."""

    def __init__(self, seat: Seat, watch: Watch, runs: Sequence[Run], *, can_wait: bool) -> None:
        self._seat, self._watch, self._runs, self._can_wait = seat, watch, runs, can_wait
        self._world = seat.world
        self._named: dict[int, Exception] = {}

    async def begin(self) -> None:
        """Take some time, and fail if it is to fail before the handler runs."""
        await self._linger(holds_lock=self._runs[0].sight.mode is Mode.SHARED)
        self.fail_early()

    async def end(self, result: object) -> None:
        """Note the effects, take some time, and fail if it is to fail after the handler ran."""
        for run in self._good():
            if run.tx is not None:
                await run.tx.execute(_EFFECT, run.group, run.entry.identity)
        await self._linger(holds_lock=self._runs[0].tx is not None)
        self.fail_late(result)

    def _good(self) -> list[Run]:
        """All but those that the handler is to name as failed."""
        return [run for index, run in enumerate(self._runs) if index not in self._named]

    def fail_early(self) -> None:
        """Raise what is to be raised before the handler runs."""
        for run in self._runs:
            if self._world.is_on(Trouble.OUTAGE):
                raise self._error(run, OutageError(self._text()), counts=False)
            self._raise(run, late=False)

    def fail_late(self, result: object) -> None:
        """Raise what is to be raised after the handler ran; else note what it returned."""
        for run in self._runs if not self._named else ():
            self._raise(run, late=True)
        self._emit(self._good(), result)
        if self._named:
            for run in self._good():
                self._watch.succeed(run)
            raise ItemsFailedError(self._named, events_of(result))

    def _emit(self, runs: Sequence[Run], result: object) -> None:
        """Note the ids of what a handler returned."""
        if runs:
            last = runs[-1]
            ids = [
                repeatable_id(last.entry.identity, last.group, last.sight.handler, index)
                for index in range(len(events_of(result)))
            ]
            for run in runs:
                run.emitted = tuple(ids)

    def named(self) -> dict[int, Exception]:
        """Of a batch: the items that the handler is to name as failed, with their errors; none if it names none."""
        if self._world.is_on(Trouble.OUTAGE) or self._world.random.random() < 0.5:
            return {}
        ailments = [self._ailment(run) for run in self._runs]
        ill = [self._is_ill(run, each) for run, each in zip(self._runs, ailments, strict=True)]
        if self._overtakes(ill) or any(each.kind == "canceled" for each in ailments):
            return {}
        for index, (run, ailment) in enumerate(zip(self._runs, ailments, strict=True)):
            if ill[index]:
                error = self._error(run, error_of(ailment, run.sight.policy, self._text()), counts=True)
                assert isinstance(error, Exception), "only a cancellation is none"
                self._named[index] = error
        return self._named

    def _overtakes(self, ill: Sequence[bool]) -> bool:
        """Whether a good item stands behind an ill one of its key: to name only that would give up their order."""
        lanes: set[Key] = set()
        for run, is_ill in zip(self._runs, ill, strict=True):
            lane = run.entry.lane
            if is_ill and lane is not None:
                lanes.add(lane)
            elif lane in lanes:
                return True
        return False

    def _raise(self, run: Run, *, late: bool) -> None:
        ailment = self._ailment(run)
        if ailment.late == late and self._is_ill(run, ailment):
            error = error_of(ailment, run.sight.policy, self._text())
            raise self._error(run, error, counts=len(self._runs) == 1)

    def _is_ill(self, run: Run, ailment: Ailment) -> bool:
        return self._world.record.case(run.group, run.entry).raises < ailment.times

    def _ailment(self, run: Run) -> Ailment:
        world = self._world
        random = Random(f"{world.seed} {run.group} {run.entry.identity}")
        found = draw_ailment(random, run.sight.policy, _AILING * world.ailing)
        return found if self._can_wait or found.kind != "canceled" else found._replace(kind="transient")

    def _text(self) -> str:
        return f"simulated failure {len(self._watch.raised) + 1}"

    def _error(self, run: Run, error: BaseException, *, counts: bool) -> BaseException:
        """Note an error that is to be raised; `counts` where it is one message's own failure."""
        fault = Fault.TRANSIENT if not isinstance(error, Exception) else run.sight.policy.classify(error)
        return self._watch.raises(Raised(error, run, fault, str(error)), counts=counts)

    async def _linger(self, *, holds_lock: bool) -> None:
        """Take some time; little of it where others wait for the lock of a transaction."""
        await self._seat.live()
        world, draw = self._world, self._world.random.random()
        if not world.weather.strikes(Trouble.DELAY, 0.3):
            return
        if draw < 0.4:
            await world.turns(world.random.randint(1, 4))
        elif draw < 0.85 or holds_lock:
            await asyncio.sleep(world.random.randint(1, 50) / 1000)
        else:
            await asyncio.sleep(world.random.choice((0.3, 1, 3, 20, 45, 100)))
