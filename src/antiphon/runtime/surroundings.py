"""What the executors of one service share: where events go, where failures go, and what is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from antiphon.brokers.ports import Broker, DeadLettering, Delivery
from antiphon.brokers.reply_topics import replying
from antiphon.errors import BrokerError, HandlingError, PublishError, StoreError
from antiphon.events.clock import Clock
from antiphon.events.discretion import hide_values
from antiphon.events.message import Message, Outgoing
from antiphon.observability.hooks import CircuitChanged, Handled, Hooks
from antiphon.observability.logging import service_logger
from antiphon.observability.metrics import Metrics
from antiphon.observability.repeats import RepeatLimit
from antiphon.resilience import CircuitState
from antiphon.runtime.admission import Admission
from antiphon.runtime.answering import Answers
from antiphon.runtime.asides import Asides
from antiphon.runtime.asking import Asker, Asking, handler_asker
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.chance import Chance
from antiphon.runtime.compose import Composer
from antiphon.runtime.gates import Gates
from antiphon.runtime.instruments import ConsumerInstruments
from antiphon.runtime.pauses import Pauses
from antiphon.runtime.publisher import HandlerPublisher, check_declared
from antiphon.runtime.route import Given, Route, events_of
from antiphon.runtime.scheduling import KeepWith, keep_nowhere
from antiphon.runtime.sending import Sending
from antiphon.runtime.shelf import Shelf
from antiphon.runtime.sources import Sources
from antiphon.runtime.staging import PublishIn, publish_nowhere
from antiphon.runtime.suspicion import CRASH, Suspicion
from antiphon.runtime.window import FINISHED, WAITING
from antiphon.runtime.work import Work
from antiphon.storage.database import Database, Transaction
from antiphon.storage.inbox import Inbox
from antiphon.storage.set_aside import Attempt

T = TypeVar("T")

FIRST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=5)


class Kept(Protocol):
    """What handlers returned and leaves with the watermark: see `Bundles`."""

    def put(self, work: Work, outgoing: Sequence[Outgoing]) -> None: ...

    async def mark(self, tx: Transaction, deliveries: Iterable[Delivery]) -> None: ...

    async def recognize(self, deliveries: Sequence[Delivery]) -> None: ...


class Instrumented(Protocol):
    """What outlives one run of a service: clock, composer, metrics, hooks."""

    composer: Composer
    clock: Clock
    metrics: Metrics
    hooks: Hooks
    chance: Chance


class Surroundings:
    """One service's own: broker, store, clock, composer, settling. Made at start, shared by its executors."""

    bundles: Kept | None = None
    """What leaves with the watermark, where the broker has transactions and a handler asks for them."""

    def __init__(
        self,
        service: str,
        group: str,
        broker: Broker,
        store: Database,
        settling: Sources,
        inbox: Inbox | None,
        blocks: Blocks,
        plan: Instrumented,
    ) -> None:
        self.service, self.group = service, group
        self.broker, self.store = broker, store
        self.settling, self.inbox = settling, inbox
        self.composer = plan.composer
        self.clock = plan.clock
        self.hooks = plan.hooks
        self.chance = plan.chance
        self.stopwatch = plan.chance.stopwatch
        self.code_version = ""
        self.dead_letters: DeadLettering | None = None
        """The broker, where it keeps what is parked itself."""
        self.keep: KeepWith = keep_nowhere
        """Keeps what is scheduled."""
        self.publish_in: PublishIn = publish_nowhere
        self.log = service_logger(service, RepeatLimit(monotonic=plan.clock.monotonic))
        self.sending = Sending(service, broker, plan.metrics, plan.hooks)
        self.answers = Answers(self.composer, replying(broker), self.clock, plan.metrics, self.log)
        self.asking: Asking | None = None
        """How its handlers ask others."""
        self.instruments = ConsumerInstruments(plan.metrics, broker.url.partition(":")[0], group)
        self.pauses = Pauses(plan.clock, settling)
        self.blocks = blocks
        self.gates = Gates(plan.clock, self.pauses, self)
        self.suspicion = Suspicion(service, settling.claims.store, store, plan.clock, self.status)
        self._listen_to(self.suspicion)
        self.status_parts: list[Callable[[], Mapping[str, object]]] = []
        """What this run says of itself to operators, put together."""
        self.shelf = Shelf(settling.claims, blocks)
        self.asides = Asides(self)
        self.admission = Admission(self.pauses, blocks, self.gates, self.asides, plan.clock)
        self.dirty = asyncio.Event()
        self.admission.went_back = self.gates.went_back = self.shelf.changed = self.dirty.set
        self.set_aside_news = asyncio.Event()
        """Something was set aside, or let go, that may be due soon."""
        settling.claims.changed = self.set_aside_news.set
        self.take_notices: Callable[[], object] = lambda: None
        self.is_told: Callable[[BaseException], bool] = lambda error: False
        """Whether somebody else tells of this error, as of a store that is away."""
        self.is_ending: Callable[[], bool] = lambda: True
        """Whether the event loop ends, and cancels everything."""

    def _listen_to(self, suspicion: Suspicion) -> None:
        suspicion.died, suspicion.condemn = self._others_died, self._condemn
        suspicion.patiently, suspicion.waits = self.patiently, self.waits

    def status(self) -> dict[str, object]:
        """How this run is now, for operators."""
        return {name: value for part in self.status_parts for name, value in part().items()}

    def _others_died(self, messages: int) -> None:
        """Count what they had in work; what they had claimed may be due here now."""
        self.instruments.died(messages)
        self.set_aside_news.set()

    def _condemn(self, work: Work, crashes: int) -> None:
        """Park what the process died of too often."""
        told = f"the process died {crashes} times while this message was attempted alone"
        attempt = Attempt(self.clock.now(), "ProcessDied", told)
        self.asides.put(work, self.asides.parked(work, [*work.past, attempt], CRASH, None))

    @property
    def draining(self) -> bool:
        """No further message is begun; what is in hand may end."""
        return self.admission.draining

    def circuit_changed(self, topic: str, state: CircuitState, reason: str | None) -> None:
        """Count and tell that the breaker of a topic opened, lets trials through, or closed."""
        self.instruments.circuit(topic, state)
        self.hooks.circuit_changed(CircuitChanged(self.service, topic, state.value))
        if state is CircuitState.OPEN:
            self.log.warning("the breaker of %s opened: %s; fetching of it stops for now", topic, reason)
        else:
            self.log.info("the breaker of %s is %s", topic, state.value)

    def circuit_begins(self, topic: str) -> None:
        """Let the breaker of a topic be seen before anything becomes of it."""
        self.instruments.circuit(topic, CircuitState.CLOSED)

    def waits_for_rate(self, topic: str) -> None:
        """Count that a topic has reached its rate limit."""
        self.instruments.waits_for_rate(topic)

    def failure_of(self, error: Exception | asyncio.CancelledError) -> Exception:
        """As the function of this name; the drain cancels, and so does the end of the event loop."""
        return failure_of(error, ends=self.draining or self.is_ending())

    def lost_lease(self) -> None:
        """Learn what went to others, after a transaction was refused for it and rolled back."""
        self.take_notices()
        self.dirty.set()

    def committed(self) -> None:
        """Note that a transaction committed: what was skipped behind its messages meanwhile can be settled now."""
        self.instruments.commits.inc()
        self.answers.look()
        self.dirty.set()

    def finished(self, delivery: Delivery) -> None:
        if delivery.state == WAITING:
            delivery.state = FINISHED
        self.answers.look()
        self.dirty.set()

    def repeated(self, work: Work) -> None:
        """Tell whoever watches that a work turned out to be handled before; whoever waits for its permit goes on."""
        work.route.instruments.duplicates.inc()
        self.gates.needed_none(work)

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
        asker = self._asker(work) if route.asks else None
        if not route.publishes:
            return Given(work.delivery, tx, None, details, asker=asker)

        async def gather(outgoing: Sequence[Outgoing]) -> None:
            assert collected is not None
            collected.extend(outgoing)

        send = self.sending.publish if collected is None else gather
        keep = partial(self.keep, tx=tx)
        publisher = HandlerPublisher(self.composer, work.delivery.message, route.name, route.allowed, send, keep)
        return Given(work.delivery, tx, publisher, details, asker=asker)

    def _asker(self, work: Work) -> Asker:
        assert self.asking is not None, "a service gives it to its handlers"
        return handler_asker(self.asking, self.composer, work.delivery.message, work.route.name)

    def succeeded(self, work: Work, seconds: float) -> None:
        """Tell the gate of a work's topic, where there is one, that an attempt succeeded after so many seconds."""
        gate = work.route.gate
        if gate is not None:
            gate.succeeded(work.delivery, seconds)
            self.gates.tell(gate)

    def succeeded_together(self, works: Sequence[Work], seconds: float) -> None:
        """As `succeeded`, of one attempt at all of these: it counts once."""
        for work in works[:-1]:
            self.gates.let_go(work)
        for work in works[-1:]:
            self.succeeded(work, seconds)

    def handled(self, work: Work, attempt: int, seconds: float) -> None:
        """Tell whoever watches that a work is done; in a transaction, once that has committed."""
        if self.hooks.handled:
            took = timedelta(seconds=seconds)
            self.hooks.handled(Handled(self.service, work.route.name, work.delivery.message, attempt, took))

    def waits(self, told: str, error: BaseException) -> None:
        """Say that something waits because of `error`, unless that is told elsewhere."""
        if not self.is_told(error):
            self.log.warning(f"{told}: %s", error)  # noqa: G004 - each of these texts is told apart from the others

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives, asked again until the store can be reached. Raises what cannot pass."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await ask()
            except StoreError as error:
                if not is_passing(error):
                    raise
                self.waits("the store cannot be asked for now", error)
            await self.clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def reason_of(error: BaseException) -> str:
    """Why something was parked, in one word that groups."""
    return type(error).__name__


def failure_of(error: Exception | asyncio.CancelledError, *, ends: bool = True) -> Exception:
    """What a handler raised, as its failure: so is a cancellation, unless its task was canceled; then it is raised.

    Where nothing `ends`, it was not: older libraries cancel the task for a timeout and never take that back.
    """
    if isinstance(error, Exception):
        hide_values(error)
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
