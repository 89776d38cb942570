"""The user's side: a service declares its handlers and what they need, and is started and stopped."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, Start
from antiphon.errors import ClosedError, DeclarationError, UsageError
from antiphon.events.clock import SystemClock
from antiphon.events.declare import Declaration
from antiphon.events.runner import Runner
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.resilience.policy import Retry
from antiphon.runtime.declared import Declared, Middleware
from antiphon.runtime.dependencies import fetched_type, read_provider
from antiphon.runtime.describing import describe_service
from antiphon.runtime.description import ServiceDescription
from antiphon.runtime.health import ServiceHealth
from antiphon.runtime.options import Options, check_events, check_policy, read_options, read_places
from antiphon.runtime.publisher import Publisher, ServicePublisher
from antiphon.runtime.replica import Replica
from antiphon.runtime.route import HandlerOptions
from antiphon.runtime.running import Plan, RunningService
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.runtime.together import transact
from antiphon.storage.database import Database, Transaction
from antiphon.storage.migrations import load_migrations

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., object])
E = TypeVar("E")

log = logging.getLogger("antiphon.runtime")


class HandlerDecorator(Protocol[E]):
    """Takes a function whose first parameter is the event, and gives it back unchanged."""

    def __call__(self, function: Callable[Concatenate[E, P], R], /) -> Callable[Concatenate[E, P], R]: ...


class Service:
    """A consumer group with its handlers. It only declares until it is started; two can live in one process.

    `broker` is a URL or an opened value (settings decide without it); `migrations` is a folder of `0001_name.sql`
    files, relative to the file that makes the service; `policy` says what follows a failure; `start` is where the
    group begins when it has no position, `lost` what happens when retention deleted the one it had. `inbox=False`
    gives up recognizing duplicates. `concurrency` is how many handlers run side by side, each key in one lane.
    """

    def __init__(
        self,
        name: str,
        *,
        broker: Broker | str | None = None,
        migrations: str | Path | None = None,
        policy: Retry | None = None,
        start: Start = Start.START,
        lost: Start = Start.STOP,
        inbox: bool = True,
        concurrency: int | None = None,
    ) -> None:
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise DeclarationError(f"service name {name!r}: use letters, digits, '-', '_' and '.'")
        self._declared = Declared(name)
        self.metrics = Metrics(service=name)
        self.hooks = Hooks(self.metrics)
        self._plan = Plan(self._declared, SystemClock(), self.metrics, self.hooks)
        check_policy("Service", policy)
        self._plan.policy = policy or Retry()
        self._plan.inbox = inbox
        self._plan.concurrency = _counted(concurrency)
        self._plan.subscribing = read_places(start, lost)
        if migrations is not None:
            folder = Path(_caller().f_globals.get("__file__", ".")).parent / migrations
            self._plan.migrations = load_migrations(folder)
        self._given = broker
        self._broker: Broker | None = None
        self._running: RunningService | None = None
        self._owns_broker = False

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def _plan_in_force(self) -> Plan:
        return self._plan if self._running is None else self._running.plan

    @property
    def health(self) -> ServiceHealth:
        """How it is; liveness and readiness are computed from it."""
        return self._plan_in_force.health

    @property
    def has_own_broker(self) -> bool:
        """Whether it was made with a broker, which then counts more than settings."""
        return self._given is not None

    @overload
    def on(self, event: type[A], /, **options: Unpack[Options]) -> HandlerDecorator[A]: ...
    @overload
    def on(self, a: type[A], b: type[B], /, **options: Unpack[Options]) -> HandlerDecorator[A | B]: ...
    @overload
    def on(self, a: type[A], b: type[B], c: type[C], /, **options: Unpack[Options]) -> HandlerDecorator[A | B | C]: ...
    @overload
    def on(
        self, a: type[A], b: type[B], c: type[C], d: type[D], /, **options: Unpack[Options]
    ) -> HandlerDecorator[A | B | C | D]: ...
    def on(self, *events: type, **options: Unpack[Options]) -> HandlerDecorator[Any]:
        """Declare a handler of these events. What it returns is published; what it needs it asks for by annotation.

        Raises DeclarationError when decorator and annotations differ, DuplicateHandlerError for a second handler
        of one event.
        """
        return self._handler(events, read_options(options), _caller())

    def on_batch(
        self, event: type[A], /, *, size: int = 100, wait: timedelta = timedelta(0), **options: Unpack[Options]
    ) -> HandlerDecorator[list[A]]:
        """Declare a handler of up to `size` events at once, of one partition and in order.

        A batch waits for more events for at most `wait`. When it keeps failing, each event is tried alone.
        """
        if size < 1:
            raise DeclarationError(f"on_batch(size={size}): a batch holds at least one event")
        return self._handler((event,), read_options(options, batch_size=size, batch_wait=wait), _caller())

    def _handler(self, events: Sequence[type], options: HandlerOptions, caller: FrameType) -> HandlerDecorator[Any]:
        """The decorator itself; the overloads above say what it takes."""
        check_events(self.name, events)
        local_names = caller.f_locals

        def declare(function: F) -> F:
            self._declared.add(function, events, options, local_names)
            return function

        return declare

    def provides(self, factory: F) -> F:
        """Declare what gives handlers a dependency: a function, or a generator that also closes it at stop.

        Its return annotation is the type that handlers (and other providers) ask for. It is called once a start.
        """
        provider = read_provider(factory, _caller().f_locals)
        if provider.gives in self._declared.providers:
            raise DeclarationError(f"service {self.name!r} has two providers of {provider.gives.__name__}: keep one")
        self._declared.providers[provider.gives] = provider
        return factory

    def fetches(self, event: type[A], /) -> Callable[[Callable[[A], Awaitable[T]]], Callable[[A], Awaitable[T]]]:
        """Declare how the details of a notification are fetched, before its handler's transaction begins.

        Handlers of that event may then ask for what the function returns, by its type.
        """
        local_names = _caller().f_locals

        def declare(function: Callable[[A], Awaitable[T]]) -> Callable[[A], Awaitable[T]]:
            self._declared.fetch(event, function, fetched_type(function, local_names))
            return function

        return declare

    def replica(self, event: type[T]) -> Replica[T]:
        """Keep a local copy of the entities of a state-transfer event, and give it to read from."""
        replica = Replica(self.name, event)
        self._declared.keep(replica)
        return replica

    def use(self, middleware: Middleware) -> Middleware:
        """Put `middleware` around every handler's call, the first one outermost."""
        self._declared.middleware.append(middleware)
        return middleware

    def carry(self, runner: Runner) -> None:
        """Start and drain `runner` with this service."""
        self._declared.runners.append(runner)

    def events(self) -> list[Declaration]:
        """The events that its handlers read, then those that they emit."""
        return [*self._declared.reads(), *self._declared.emits()]

    def describe(self, broker: Broker | None = None, settings: Settings | None = None) -> ServiceDescription:
        """What it reads and emits, and what holds when it fails; nothing is opened. Raises UsageError."""
        found = settings or load_settings()
        return describe_service(self._plan, broker or self._broker or self._choose(found), found)

    @property
    def broker(self) -> Broker:
        """The broker it runs on. Raises ClosedError before it was started."""
        if self._broker is None:
            raise ClosedError(f"service {self.name!r}", "use its broker")
        return self._broker

    @property
    def store(self) -> Database:
        """The database of its tables. Raises ClosedError before it was started."""
        if self._running is None:
            raise ClosedError(f"service {self.name!r}", "use its store")
        return self._running.store

    async def publish(self, event: object, *, key: str | None = None) -> None:
        """Publish an event of the application's own; returns once the broker holds it. Many tasks may call it.

        Raises ClosedError, PublishError, EncodeError.
        """
        broker = self.broker
        await ServicePublisher(self._plan_in_force.composer, broker.publish).publish(event, key=key)

    async def publish_all(self, events: Iterable[object]) -> None:
        """As `publish`, for many events with one confirmation; those of one key keep their order.

        Raises PublishError naming every refused one; the broker holds the others.
        """
        broker = self.broker
        await broker.publish([self._plan_in_force.composer.first(event) for event in events])

    def transaction(self) -> AbstractAsyncContextManager[tuple[Transaction, Publisher]]:
        """`async with service.transaction() as (tx, publisher)`: writes and events of the application's own.

        They commit together at the end, or not at all when the block raises. Await nothing else inside: every other
        writer waits for it. Raises ClosedError, UnsupportedCapabilityError, PublishError, StoreError.
        """
        return transact(self.broker, self._plan_in_force.composer)

    def part_of(self, stand_ins: StandIns) -> StandIns:
        """What of these stands in for something that it declares."""
        return stand_ins.part_for(self._declared)

    async def caught_up(self) -> bool:
        """Settle what is finished now, and say whether nothing is left that the broker holds for it.

        What waits for newer code does not count. Raises what consuming stopped with, ClosedError before the start.
        """
        if self._running is None:
            raise ClosedError(f"service {self.name!r}", "see how far it is")
        return await self._running.caught_up()

    async def start(
        self, broker: Broker | None = None, settings: Settings | None = None, stand_ins: StandIns | None = None
    ) -> None:
        """Begin to handle; returns once it runs. Raises AntiphonError, and then nothing runs.

        A broker that is given stays open at `stop`; otherwise the service's own, or that of the settings, is opened
        and closed by it. `stand_ins` take the place of its clock, dependencies and fetchers, for tests.
        """
        if self._running is not None:
            raise UsageError(f"service {self.name!r} runs already: stop it before it is started again")
        found = settings or load_settings()
        self._owns_broker = broker is None and not isinstance(self._given, Broker)
        self._broker = broker or self._choose(found)
        plan = self._plan if stand_ins is None else self._plan.with_stand_ins(stand_ins)
        self._running = RunningService(plan, self._broker, found)
        try:
            await self._running.start()
        except BaseException:
            await self._close()
            raise

    def _choose(self, settings: Settings) -> Broker:
        if isinstance(self._given, Broker):
            return self._given
        return connect(self._given or settings.of_service(self.name).broker)

    async def stop(self) -> None:
        """Drain and stop. Twice is safe. Canceling gives up the waiting; call it again to wait for the end."""
        try:
            if self._running is not None:
                await self._running.stop()
        except Exception:
            await self._close()
            raise
        await self._close()

    async def _close(self) -> None:
        broker, self._broker, self._running = self._broker, None, None
        if broker is not None and self._owns_broker:
            await broker.close()

    async def wait(self) -> None:
        """Return never, unless consuming stops by a fault: then raise it."""
        consumer = None if self._running is None else self._running.consumer
        if consumer is None:
            await asyncio.Event().wait()
        else:
            await consumer.failed.wait()
            if consumer.failure is not None:
                raise consumer.failure

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {len(self._declared.handlers)} handlers)"


def _counted(concurrency: int | None) -> int | None:
    if concurrency is not None and concurrency < 1:
        raise DeclarationError(f"concurrency={concurrency}: at least one handler must be able to run")
    return concurrency


def _caller() -> FrameType:
    """The frame that called our caller: where the user's names and file are."""
    return sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - annotations that are strings can only be resolved there
