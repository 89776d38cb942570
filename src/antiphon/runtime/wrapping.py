"""How something is put around every call of a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from antiphon.brokers.ports import Delivery
from antiphon.runtime.route import Given, Mode, Route, call_plain, collect
from antiphon.runtime.signature import Shape

CallNext = Callable[[], Awaitable[object]]
Middleware = Callable[[Delivery, CallNext], Awaitable[object]]
"""Wraps every call of every handler: `async def middleware(delivery, call_next)`; returns what `call_next()` gave."""
AsyncCall = Callable[[object, Given], Awaitable[object]]


def wrap(route: Route, middleware: Sequence[Middleware]) -> None:
    """Put middleware around a route's call, the first one outermost; the route is then a coroutine's."""
    inner, shape = route.call, route.shape

    async def innermost(event: object, given: Given) -> object:
        if shape in (Shape.ASYNC, Shape.ASYNC_GENERATOR):
            return await collect(inner(event, given), shape)
        return await given.call(partial(call_plain, inner, shape, event, given))

    call: AsyncCall = innermost
    for each in reversed(middleware):
        call = _around(each, call)
    route.call, route.shape, route.direct = call, Shape.ASYNC, None
    if route.mode is Mode.THREAD:
        route.mode = Mode.AWAIT


def _around(middleware: Middleware, call: AsyncCall) -> AsyncCall:
    def around(event: object, given: Given) -> Awaitable[object]:
        return middleware(given.delivery, lambda: call(event, given))

    return around
