"""Publishing by hand: what a handler or an application asks for when returning an event is not enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from antiphon.errors import ClosedError, UndeclaredEventError
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.compose import Composer


class Publisher(Protocol):
    """Publishes events. Ask for it by annotation; a handler that does declares `publishes=`."""

    async def publish(self, event: object, *, key: str | None = None) -> None:
        """Publish one event; `key` replaces its declared key.

        In a handler with a Transaction it is held when that commits; elsewhere it returns once the broker holds
        it. Raises UndeclaredEventError, EncodeError, PublishError; ClosedError once the handler has ended. Calls of
        one handler keep their order.
        """
        ...


Send = Callable[[Sequence[Outgoing]], Awaitable[None]]


class ServicePublisher:
    """For applications and scripts: new messages, confirmed one call at a time; many tasks may share it."""

    def __init__(self, composer: Composer, send: Send) -> None:
        self._composer, self._send = composer, send

    async def publish(self, event: object, *, key: str | None = None) -> None:
        await self._send((self._composer.first(event, key=key),))


class HandlerPublisher:
    """For one attempt of a handler: caused by what it handles, with repeatable ids, in its transaction if any.

    It is closed with the attempt: what came later would be part of no transaction, under the id of another event.
    """

    __slots__ = ("_allowed", "_cause", "_composer", "_handler", "_is_closed", "_send", "count")

    def __init__(self, composer: Composer, cause: Message, handler: str, allowed: tuple[type, ...], send: Send) -> None:
        self._composer, self._cause, self._handler = composer, cause, handler
        self._allowed, self._send = allowed, send
        self._is_closed = False
        self.count = 0

    def close(self) -> None:
        """Publish no more. Twice is safe."""
        self._is_closed = True

    async def publish(self, event: object, *, key: str | None = None) -> None:
        if self._is_closed:
            raise ClosedError(f"the publisher of {self._handler}, which has ended,", f"publish {type(event).__name__}")
        check_declared(event, self._handler, self._allowed)
        outgoing = self._composer.caused(event, self._cause, self._handler, self.count, key=key)
        self.count += 1
        await self._send((outgoing,))


def check_declared(event: object, handler: str, allowed: tuple[type, ...]) -> None:
    """Raise UndeclaredEventError unless the event's class is among the declared ones."""
    if type(event) not in allowed:
        raise UndeclaredEventError(handler, type(event).__name__, [kind.__name__ for kind in allowed])
