"""What a service declares: its handlers, what they need, and what stands around them. Nothing runs yet."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import FrameType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from antiphon.errors import DeclarationError
from antiphon.events.declare import Declaration
from antiphon.events.runner import Runner
from antiphon.runtime.declared import Declared
from antiphon.runtime.dependencies import fetched_type, read_provider
from antiphon.runtime.options import Options, check_events, read_options
from antiphon.runtime.replica import Replica
from antiphon.runtime.route import HandlerOptions
from antiphon.runtime.wrapping import Middleware

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., object])
E = TypeVar("E")


class HandlerDecorator(Protocol[E]):
    """Takes a function whose first parameter is the event, and gives it back unchanged."""

    def __call__(self, function: Callable[Concatenate[E, P], R], /) -> Callable[Concatenate[E, P], R]: ...


class ServiceDeclarations:
    """The declaring side of a service; it decides nothing and opens nothing."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared

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
        return self._handler(events, read_options(options), caller())

    def on_batch(
        self, event: type[A], /, *, size: int = 100, wait: timedelta = timedelta(0), **options: Unpack[Options]
    ) -> HandlerDecorator[list[A]]:
        """Declare a handler of up to `size` events at once, of one partition and in order.

        A batch waits for more events for at most `wait`. When it keeps failing, each event is tried alone.
        """
        if size < 1:
            raise DeclarationError(f"on_batch(size={size}): a batch holds at least one event")
        return self._handler((event,), read_options(options, batch_size=size, batch_wait=wait), caller())

    def answers(self, request: type[A], /, **options: Unpack[Options]) -> HandlerDecorator[A]:
        """Declare a handler that answers these requests, events that somebody asks by an `Asker`.

        It returns one event, of the class that its return annotation names, which goes to whoever asked once what it
        wrote is committed. RejectError, or an error that its policy gives up on, goes there in its place, and a
        request whose deadline has passed is dropped: neither is parked. It takes the options of `on`; unless they say
        otherwise, requests of one key do not wait for each other, and one that is newer than the code is given up.

        Raises DeclarationError and DuplicateHandlerError as `on`.
        """
        return self._handler((request,), read_options(options, answers=True), caller())

    def _handler(self, events: Sequence[type], options: HandlerOptions, caller: FrameType) -> HandlerDecorator[Any]:
        """The decorator itself; the overloads above say what it takes."""
        check_events(self._declared.service, events)
        local_names = caller.f_locals

        def declare(function: F) -> F:
            self._declared.add(function, events, options, local_names)
            return function

        return declare

    def provides(self, factory: F) -> F:
        """Declare what gives handlers a dependency: a function, or a generator that also closes it at stop.

        Its return annotation is the type that handlers (and other providers) ask for. It is called once a start.
        """
        provider = read_provider(factory, caller().f_locals)
        if provider.gives in self._declared.providers:
            raise DeclarationError(
                f"service {self._declared.service!r} has two providers of {provider.gives.__name__}: keep one"
            )
        self._declared.providers[provider.gives] = provider
        return factory

    def fetches(self, event: type[A], /) -> Callable[[Callable[[A], Awaitable[T]]], Callable[[A], Awaitable[T]]]:
        """Declare how the details of a notification are fetched, before its handler's transaction begins.

        Handlers of that event may then ask for what the function returns, by its type.
        """
        local_names = caller().f_locals

        def declare(function: Callable[[A], Awaitable[T]]) -> Callable[[A], Awaitable[T]]:
            self._declared.fetch(event, function, fetched_type(function, local_names))
            return function

        return declare

    def replica(self, event: type[T]) -> Replica[T]:
        """Keep a local copy of the entities of a state-transfer event, and give it to read from."""
        replica = Replica(self._declared.service, event)
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


def caller() -> FrameType:
    """The frame that called our caller: where the user's names and file are."""
    return sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - annotations that are strings can only be resolved there
