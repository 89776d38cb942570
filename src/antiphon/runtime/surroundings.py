"""What the executors of one service share: where events go, where failures go, and what is settled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import perf_counter
from typing import Protocol, cast

from antiphon.brokers.ports import Broker, Delivery, StoreBroker
from antiphon.errors import AntiphonError, BrokerError, HandlingError, NewerVersionError, PublishError, StoreError
from antiphon.events.clock import Clock
from antiphon.events.message import Message, Outgoing
from antiphon.observability.context import about
from antiphon.observability.hooks import Failed, Handled, Hooks, Parked, Published
from antiphon.observability.logging import service_logger
from antiphon.observability.metrics import Metrics
from antiphon.observability.repeats import RepeatLimit
from antiphon.resilience.policy import Decision
from antiphon.runtime.compose import Composer
from antiphon.runtime.instruments import ConsumerInstruments
from antiphon.runtime.pauses import Pauses
from antiphon.runtime.publisher import HandlerPublisher, check_declared
from antiphon.runtime.route import Given, Route, events_of
from antiphon.runtime.settlement import Settling
from antiphon.runtime.window import FINISHED, WAITING
from antiphon.runtime.work import Work, attempt_of
from antiphon.storage.database import Database, Transaction
from antiphon.storage.dead_letters import Attempt, DeadLetter
from antiphon.storage.inbox import Inbox

FIRST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=5)


class Instrumented(Protocol):
    """What outlives one run of a service: clock, composer, metrics, hooks."""

    composer: Composer
    clock: Clock
    metrics: Metrics
    hooks: Hooks


class Surroundings:
    """One service's own: broker, store, clock, composer, settling. Made at start, shared by its executors."""

    def __init__(
        self,
        service: str,
        group: str,
        broker: Broker,
        store: Database,
        settling: Settling,
        inbox: Inbox | None,
        pauses: Pauses,
        plan: Instrumented,
    ) -> None:
        self.service = service
        self.group = group
        self.broker = broker
        self.store = store
        self.settling = settling
        self.inbox = inbox
        self.pauses = pauses
        self.composer = plan.composer
        self.clock = plan.clock
        self.hooks = plan.hooks
        self.code_version = ""
        self.log = service_logger(service, RepeatLimit(monotonic=plan.clock.monotonic))
        self.instruments = ConsumerInstruments(plan.metrics, broker.url.partition(":")[0], group)
        self.parking: list[tuple[DeadLetter, Delivery]] = []
        self.dirty = asyncio.Event()
        self.draining = False
        """No further message is begun; what is in hand may end."""
        self.take_notices: Callable[[], None] = lambda: None
        self.is_ending: Callable[[], bool] = lambda: True
        """Whether the event loop ends, and cancels everything."""

    @property
    def shares_store(self) -> bool:
        """Whether settling and publishing can join a transaction of the store."""
        return isinstance(self.broker, StoreBroker) and self.broker.database is self.store

    def failure_of(self, error: Exception | asyncio.CancelledError) -> Exception:
        """As the function of this name; the drain cancels, and so does the end of the event loop."""
        return failure_of(error, ends=self.draining or self.is_ending())

    def may_begin(self, work: Work) -> bool:
        """Whether to handle a work now: not when it was lost, waits behind a paused partition, or a drain began."""
        return work.delivery.state == WAITING and not self.draining and not self.pauses.hold_behind((work,))

    def lost_lease(self) -> None:
        """Learn what went to others, after a transaction was refused for it and rolled back."""
        self.take_notices()
        self.dirty.set()

    def committed(self) -> None:
        """Note that a transaction committed: what was skipped behind its messages meanwhile can be settled now."""
        self.instruments.commits.inc()
        self.dirty.set()

    def finished(self, delivery: Delivery) -> None:
        if delivery.state == WAITING:
            delivery.state = FINISHED
        self.dirty.set()

    def outgoing(self, route: Route, cause: Message, result: object, first: int = 0) -> list[Outgoing]:
        """The messages of what a handler returned. Raises UndeclaredEventError, EncodeError."""
        made: list[Outgoing] = []
        for index, event in enumerate(events_of(result), first):
            check_declared(event, route.name, route.allowed)
            made.append(self.composer.caused(event, cause, route.name, index))
        return made

    def given(self, work: Work, tx: Transaction | None, details: object, collected: list[Outgoing] | None) -> Given:
        """What one attempt of a handler can ask for. With `collected` its publishes are gathered there."""
        route = work.route
        if not route.publishes:
            return Given(work.delivery, tx, None, details)

        async def gather(outgoing: Sequence[Outgoing]) -> None:
            assert collected is not None
            collected.extend(outgoing)

        send = self.publish if collected is None else gather
        publisher = HandlerPublisher(self.composer, work.delivery.message, route.name, route.allowed, send)
        return Given(work.delivery, tx, publisher, details)

    def decide(self, work: Work, attempts: list[Attempt], error: Exception) -> Decision | None:
        """Note a failed attempt and say what follows; None when the work now waits for newer code."""
        route = work.route
        if isinstance(error, NewerVersionError) and route.newer == "pause":
            if self.pauses.pause(work, error):
                self.instruments.paused(work.delivery.partition.topic, "newer version")
            return None
        attempts.append(attempt_of(error, self.clock.now()))
        route.instruments.failed(error)
        if self.hooks.failed:
            self.hooks.failed(Failed(self.service, route.name, work.delivery.message, len(attempts), error))
        decision = route.policy.decide(len(attempts), error)
        if decision is Decision.AGAIN:
            route.instruments.retries.inc()
            self.log.warning("attempt %d failed, trying again", len(attempts), exc_info=_shown(error))
        return decision

    def letter(self, work: Work, attempts: Sequence[Attempt], reason: str) -> DeadLetter:
        """The dead letter of a work whose attempts are over."""
        delivery = work.delivery
        return DeadLetter(
            message=delivery.message,
            topic=delivery.partition.topic,
            partition=delivery.partition.number,
            position=delivery.position,
            service=self.service,
            group=self.group,
            handler=work.route.name,
            attempts=tuple(attempts),
            reason=reason,
            code_version=self.code_version,
            parked_at=self.clock.now(),
        )

    def parked(self, work: Work, attempts: Sequence[Attempt], reason: str) -> None:
        """Count and tell that a work is parked."""
        work.route.instruments.parked(reason)
        if self.hooks.parked:
            self.hooks.parked(Parked(self.service, work.route.name, work.delivery.message, reason))
        with about(work.route.instruments.scope, work.delivery.message, len(attempts)):
            last = attempts[-1].error if attempts else reason
            tried = "1 attempt" if len(attempts) == 1 else f"{len(attempts)} attempts"
            self.log.error("parked after %s: %s", tried, last, extra={"reason": reason})

    def handled(self, work: Work, attempt: int, seconds: float) -> None:
        """Tell whoever watches that a work is done; in a transaction, once that has committed."""
        if self.hooks.handled:
            took = timedelta(seconds=seconds)
            self.hooks.handled(Handled(self.service, work.route.name, work.delivery.message, attempt, took))

    def sent(self, outgoing: Sequence[Outgoing]) -> None:
        """Count and tell what the broker holds now."""
        counts = Counter(one.topic for one in outgoing)
        for topic, count in counts.items():
            self.instruments.sent(topic).inc(count)
        if self.hooks.published:
            for topic in counts:
                messages = tuple(one.message for one in outgoing if one.topic == topic)
                self.hooks.published(Published(self.service, topic, messages))

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish now; returns when the broker holds it all."""
        began = perf_counter()
        await self.broker.publish(outgoing)
        self.instruments.sending.observe(perf_counter() - began)
        self.sent(outgoing)

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        """Publish when `tx` commits."""
        await cast(StoreBroker, self.broker).publish_in(tx, outgoing)

    def park(self, work: Work, attempts: Sequence[Attempt], reason: str) -> None:
        """Park a work outside of any transaction: with the settlement that moves the watermark past it."""
        self.parking.append((self.letter(work, attempts, reason), work.delivery))
        self.parked(work, attempts, reason)
        self.dirty.set()


def reason_of(error: BaseException) -> str:
    """Why something was parked, in one word that groups."""
    return type(error).__name__


def failure_of(error: Exception | asyncio.CancelledError, *, ends: bool = True) -> Exception:
    """What a handler raised, as its failure: so is a cancellation, unless its task was canceled; then it is raised.

    Where nothing `ends`, it was not: older libraries cancel the task for a timeout and never take that back.
    """
    if isinstance(error, Exception):
        return error
    task = asyncio.current_task()
    if task is None or (ends and task.cancelling()):
        raise error
    while task.cancelling():
        task.uncancel()
    failure = HandlingError("the handler awaited something that was canceled")
    failure.__cause__ = error
    return failure


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later: the fault is the road's or the shelf's, not the handler's."""
    if isinstance(error, PublishError):
        return all(refusal.retryable for refusal in error.refusals)
    return isinstance(error, BrokerError | StoreError) and error.retryable


def _shown(error: BaseException) -> BaseException | None:
    """The traceback is worth a log entry for errors of user code; ours say enough in one line."""
    return None if isinstance(error, AntiphonError) else error
