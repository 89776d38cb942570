"""How a handler in a shared transaction is driven, and found out when it waits for anything but its transaction."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Generic, TypeVar

T = TypeVar("T")


async def drive(coroutine: Coroutine[object, object, T], waits: Callable[[], None]) -> T:
    """Run `coroutine` to its end; call `waits` once when it suspends.

    The statements of its transaction never suspend, so whatever does is something else, and it holds a lock that
    other writers need.
    """
    try:
        waited_for = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    waits()
    return await _Rest(coroutine, waited_for)


class _Rest(Generic[T]):
    """The rest of a coroutine that was started by hand."""

    __slots__ = ("_coroutine", "_waited_for")

    def __init__(self, coroutine: Coroutine[object, object, T], waited_for: object) -> None:
        self._coroutine, self._waited_for = coroutine, waited_for

    def __await__(self) -> Generator[object, object, T]:
        coroutine, waited_for = self._coroutine, self._waited_for
        while True:
            try:
                sent = yield waited_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                resume = _thrower(coroutine, error)
            else:
                resume = _sender(coroutine, sent)
            try:
                waited_for = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result


def _thrower(coroutine: Coroutine[object, object, object], error: BaseException) -> Callable[[], object]:
    return lambda: coroutine.throw(error)


def _sender(coroutine: Coroutine[object, object, object], sent: object) -> Callable[[], object]:
    return lambda: coroutine.send(sent)
