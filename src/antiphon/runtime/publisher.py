"""Publishing by hand: what a handler or an application asks for when returning an event is not enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, Unpack

from msgspec.structs import replace

from antiphon.errors import ClosedError, UndeclaredEventError
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.scheduling import Keep
from antiphon.runtime.timing import When, read_timing


class Publisher(Protocol):
    """Publishes events. Ask for it by annotation; a handler that does declares `publishes=`."""

    async def publish(self, event: object, *, key: str | None = None, **when: Unpack[When]) -> str:
        """Publish one event, now or `at` a moment or after a `delay`; `key` replaces its declared key.

        In a handler with a Transaction it is held, or scheduled, when that commits; elsewhere this returns once the
        broker holds it, or once it is scheduled. Returns the message's id, by which what is scheduled can be canceled.
        `deadline`: until when it is worth handling; a duration counts from its publishing, and what a handler
        publishes inherits that of the message it handles where that is earlier.

        Raises UndeclaredEventError, EncodeError, PublishError; UsageError for a time that cannot be; ClosedError once
        the handler has ended. Calls of one handler keep their order, those without a time and those of one time.
        """
        ...


Send = Callable[[Sequence[Outgoing]], Awaitable[None]]


class ServicePublisher:
    """For applications and scripts: new messages, confirmed one call at a time; many tasks may share it."""

    def __init__(self, composer: Composer, send: Send, keep: Keep) -> None:
        self._composer, self._send, self._keep = composer, send, keep

    async def publish(self, event: object, *, key: str | None = None, **when: Unpack[When]) -> str:
        moment, end = read_timing(self._composer.now(), **when)
        outgoing = self._composer.first(event, key=key, deadline=end)
        if moment is None:
            await self._send((outgoing,))
        else:
            await self._keep((outgoing,), moment)
        return outgoing.message.id


class HandlerPublisher:
    """For one attempt of a handler: caused by what it handles, with repeatable ids, in its transaction if any.

    It is closed with the attempt: what came later would be part of no transaction, under the id of another event.
    """

    __slots__ = ("_allowed", "_cause", "_composer", "_handler", "_is_closed", "_keep", "_kept", "_send", "count")

    def __init__(
        self, composer: Composer, cause: Message, handler: str, allowed: tuple[type, ...], send: Send, keep: Keep
    ) -> None:
        self._composer, self._cause, self._handler = composer, cause, handler
        self._allowed, self._send, self._keep = allowed, send, keep
        self._is_closed = False
        self._kept = 0
        self.count = 0
        """How many it has published, those that it scheduled left out: these have ids of their own."""

    def close(self) -> None:
        """Publish no more. Twice is safe."""
        self._is_closed = True

    async def publish(self, event: object, *, key: str | None = None, **when: Unpack[When]) -> str:
        if self._is_closed:
            raise ClosedError(f"the publisher of {self._handler}, which has ended,", f"publish {type(event).__name__}")
        check_declared(event, self._handler, self._allowed)
        moment, end = read_timing(self._composer.now(), **when)
        if moment is not None:
            return await self._schedule(event, key, moment, end)
        outgoing = self._composer.caused(event, self._cause, self._handler, self.count, key=key, deadline=end)
        self.count += 1
        await self._send((outgoing,))
        return outgoing.message.id

    async def _schedule(self, event: object, key: str | None, moment: datetime, deadline: datetime | None) -> str:
        cause = self._cause
        if cause.deadline is not None and cause.deadline <= moment:
            # It is meant for later than what caused it: it would be over before it is published.
            cause = replace(cause, deadline=None)
        handler = f"{self._handler} scheduled"
        outgoing = self._composer.caused(event, cause, handler, self._kept, key=key, deadline=deadline)
        self._kept += 1
        await self._keep((outgoing,), moment)
        return outgoing.message.id


def check_declared(event: object, handler: str, allowed: tuple[type, ...]) -> None:
    """Raise UndeclaredEventError unless the event's class is among the declared ones."""
    if type(event) not in allowed:
        raise UndeclaredEventError(handler, type(event).__name__, [kind.__name__ for kind in allowed])
