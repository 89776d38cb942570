"""The responder's side: what a handler replies is kept until its delivery is done, and then sent to whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple, Protocol

from antiphon.brokers.ports import Delivery, Reply, Replying
from antiphon.brokers.reply_topics import REPLY_TO
from antiphon.errors import BrokerError, PublishError, StoreError
from antiphon.events.clock import Clock
from antiphon.events.message import Message
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime.compose import Composer
from antiphon.runtime.publisher import check_declared
from antiphon.runtime.request_failed import FAILED, RequestFailed
from antiphon.runtime.route import Route
from antiphon.runtime.window import FINISHED, SETTLED, WAITING
from antiphon.runtime.wrapping import wrap

LONGEST_TOLD = 2_000
"""Characters of an error's text that an asker is told."""
_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=50), timedelta(seconds=2)


class Log(Protocol):
    """Where it is told."""

    def warning(self, msg: object, *args: object) -> None: ...

    def error(self, msg: object, *args: object) -> None: ...


class _Kept(NamedTuple):
    """A reply on its way, and what it replies to."""

    handler: str
    request: Message
    reply: Reply


class Answers:
    """The replies of one service. What was written in a transaction is committed before its reply is sent."""

    def __init__(self, composer: Composer, way: Replying, clock: Clock, metrics: Metrics, log: Log) -> None:
        self._composer, self._way, self._clock, self._metrics, self._log = composer, way, clock, metrics, log
        self._kept: dict[Delivery, _Kept] = {}
        """What is replied once these are done."""
        self._ready: list[_Kept] = []
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def serve(self, routes: Sequence[Route]) -> None:
        """Take what the handlers of these return as their replies, whatever middleware is around them."""
        for route in routes:
            if route.reply is not None:
                wrap(route, (partial(self._answered, route),))

    async def _answered(self, route: Route, delivery: Delivery, call_next: Callable[[], Awaitable[object]]) -> None:
        reply = await call_next()
        check_declared(reply, route.name, (route.reply,) if route.reply is not None else ())
        self._keep(route, delivery, reply)

    def failed(self, route: Route, delivery: Delivery, error: BaseException) -> None:
        """Reply that a request was given up, once its delivery is done; count and tell it."""
        kind, text = type(error).__name__, _said_by(error)
        self._metrics.counter(names.REQUESTS_FAILED, handler=route.name, error=kind).inc()
        self._log.error("a request was given up, and its asker is told: %s: %s", kind, text)
        self._keep(route, delivery, RequestFailed(kind, text))

    def forget(self, delivery: Delivery) -> None:
        """The attempt that replied was undone. Twice is safe."""
        self._kept.pop(delivery, None)

    def _keep(self, route: Route, delivery: Delivery, reply: object) -> None:
        request = delivery.message
        address = request.extensions.get(REPLY_TO)
        # It is composed in the attempt, which fails where it cannot be written.
        message = self._composer.caused(reply, request, f"{route.name} replies", 0).message
        if isinstance(address, str):
            self._kept[delivery] = _Kept(route.name, request, Reply(address, message))

    def look(self) -> None:
        """Send on what is done by now, and forget what was given up. Never waits."""
        if not self._kept:
            return
        for delivery in [each for each in self._kept if each.state != WAITING]:
            kept = self._kept.pop(delivery)
            if delivery.state in (FINISHED, SETTLED):
                self._ready.append(kept)
        if self._ready:
            self._idle.clear()
            self._news.set()

    async def run(self) -> None:
        """Go on until canceled."""
        while True:
            await self._news.wait()
            self._news.clear()
            ready, self._ready = self._ready, []
            await self._send(ready)
            if not self._ready:
                self._idle.set()

    async def flushed(self) -> None:
        """Return once everything that is done has been sent, or given up."""
        self.look()
        await self._idle.wait()

    async def _send(self, ready: Sequence[_Kept]) -> None:
        pause = _PAUSE
        while ready:
            try:
                await self._way.reply([kept.reply for kept in ready])
            except PublishError as error:
                ready = self._sort_out(ready, error)
            except (BrokerError, StoreError) as error:
                ready = self._unless_late(ready, error) if error.retryable else self._lose(ready, error)
            else:
                self._count_sent(ready)
                return
            if ready:
                await self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _unless_late(self, ready: Sequence[_Kept], error: Exception) -> Sequence[_Kept]:
        """Those that are worth another try, as somebody waits for them; the others are lost."""
        now = self._clock.now()
        late = [kept for kept in ready if kept.request.deadline is None or kept.request.deadline <= now]
        self._lose(late, error)
        return [kept for kept in ready if kept not in late]

    def _sort_out(self, ready: Sequence[_Kept], error: PublishError) -> list[_Kept]:
        """What is to be sent instead of what was refused: the news of that, once."""
        refused = {refusal.message_id: refusal for refusal in error.refusals}
        self._count_sent([kept for kept in ready if kept.reply.message.id not in refused])
        again: list[_Kept] = []
        for kept in ready:
            refusal = refused.get(kept.reply.message.id)
            if refusal is None:
                continue
            if refusal.retryable:
                again += self._unless_late([kept], error)
            elif kept.reply.message.type == FAILED:
                again += self._lose([kept], error)
            else:
                again.append(self._refused(kept, refusal.reason))
        return again

    def _refused(self, kept: _Kept, reason: str) -> _Kept:
        """The reply in place of one that the broker does not take."""
        told = RequestFailed(PublishError.__name__, f"the broker did not take the reply: {reason}"[:LONGEST_TOLD])
        message = self._composer.caused(told, kept.request, f"{kept.handler} replies", 1).message
        return kept._replace(reply=Reply(kept.reply.address, message))

    def _lose(self, lost: Sequence[_Kept], error: Exception) -> Sequence[_Kept]:
        """Count and tell it; nothing is left of them."""
        for kept in lost:
            self._metrics.counter(names.REPLIES_LOST, handler=kept.handler, error=type(error).__name__).inc()
            self._log.warning("a reply is lost, and its asker waits in vain: %s", error)
        return ()

    def _count_sent(self, sent: Sequence[_Kept]) -> None:
        for kept in sent:
            self._metrics.counter(names.REPLIES_SENT, handler=kept.handler).inc()


def _said_by(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(it raises an error of its own when it is asked what it says)"
    return text.encode("utf-8", "backslashreplace").decode()[:LONGEST_TOLD]
