"""How declared handlers become routes, once, at start."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from antiphon.events.declare import declaration_of
from antiphon.observability.metrics import Metrics
from antiphon.resilience.policy import Retry
from antiphon.runtime.awaiting import call_plain
from antiphon.runtime.declared import Declared, Fetching, Middleware
from antiphon.runtime.instruments import HandlerInstruments
from antiphon.runtime.route import Fetcher, Given, Mode, Route, collect, compile_call
from antiphon.runtime.signature import Shape
from antiphon.runtime.stand_ins import StandIns
from antiphon.schemas.codec import codec_for


def compile_routes(
    declared: Declared,
    dependencies: Mapping[type, object],
    metrics: Metrics,
    policy: Retry,
    stand_ins: StandIns | None = None,
) -> dict[str, dict[str, Route]]:
    """The route of each event, by topic and name. Raises DeclarationError where an event's types do not resolve."""
    routes: dict[str, dict[str, Route]] = defaultdict(dict)
    for (topic, name), (handler, event) in declared.by_event.items():
        fetching = declared.fetching(event)
        call = compile_call(handler, dependencies, None if fetching is None else fetching.gives)
        route = Route(
            handler,
            codec_for(event),
            call,
            HandlerInstruments(metrics, declared.service, handler.name, declaration_of(event).topic),
            handler.options.policy or policy,
            _fetcher(event, fetching, stand_ins),
            bool(declared.middleware),
        )
        if declared.middleware:
            _wrap(route, declared.middleware)
        routes[topic][name] = route
    for by_name in routes.values():
        batched = any(route.batch_size is not None for route in by_name.values())
        for route in by_name.values():
            route.by_partition = batched
            route.by_key = route.by_key and not batched
    return routes


def _fetcher(event: type, fetching: Fetching | None, stand_ins: StandIns | None) -> Fetcher | None:
    if fetching is None:
        return None
    instead = None if stand_ins is None else stand_ins.fetcher(event)
    return instead or fetching.function


def _wrap(route: Route, middleware: Sequence[Middleware]) -> None:
    """Put middleware around a route's call, the first declared outermost; the route is then a coroutine's."""
    inner, shape = route.call, route.shape

    async def innermost(event: object, given: Given) -> object:
        if shape in (Shape.ASYNC, Shape.ASYNC_GENERATOR):
            return await collect(inner(event, given), shape)
        return await asyncio.to_thread(call_plain, inner, shape, event, given)

    call: AsyncCall = innermost
    for each in reversed(middleware):
        call = _around(each, call)
    route.call, route.shape = call, Shape.ASYNC
    if route.mode is Mode.THREAD:
        route.mode = Mode.AWAIT


AsyncCall = Callable[[object, Given], Awaitable[object]]


def _around(middleware: Middleware, call: AsyncCall) -> AsyncCall:
    def around(event: object, given: Given) -> Awaitable[object]:
        return middleware(given.delivery, lambda: call(event, given))

    return around
