"""One service while it runs: what it opened, in which order, and how it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import timedelta
from functools import partial
from uuid import uuid4

from antiphon.brokers.ports import (
    Broker,
    DeadLettering,
    LogSubscription,
    StoreBroker,
    Subscription,
    TransactionalSubscription,
)
from antiphon.deadletters.redriving import IDLE, Redriving
from antiphon.errors import BrokerError, StoreError, UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.events.runner import Runner
from antiphon.observability import names
from antiphon.observability.hooks import Hooks, StateChanged
from antiphon.observability.metrics import Metrics
from antiphon.outbox.due import is_on
from antiphon.runtime.asking import Asker, Asking
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.bundles import Bundles
from antiphon.runtime.chance import Chance
from antiphon.runtime.claims import Claims
from antiphon.runtime.compiling import compile_routes, stop_at_gates
from antiphon.runtime.compose import Composer
from antiphon.runtime.consumer import Bounds, Consumer
from antiphon.runtime.declared import Declared
from antiphon.runtime.dependencies import Dependencies
from antiphon.runtime.guarantees import demand, derive, leaves_with_watermark
from antiphon.runtime.health import Pulse, ServiceHealth
from antiphon.runtime.housekeeping import Housekeeping
from antiphon.runtime.options import Choices
from antiphon.runtime.outages import Outages
from antiphon.runtime.route import Route
from antiphon.runtime.scheduling import Scheduling
from antiphon.runtime.sending import Sending
from antiphon.runtime.sessions import HandlerSessions, check_sessions
from antiphon.runtime.settings import Settings
from antiphon.runtime.settlement import LogSettling, QueueSettling
from antiphon.runtime.shared import TransactionBounds
from antiphon.runtime.sources import Sources
from antiphon.runtime.staging import Staging
from antiphon.runtime.stand_ins import StandIns
from antiphon.runtime.standing import Standing
from antiphon.runtime.storeless import is_missing
from antiphon.runtime.surroundings import Surroundings, is_passing
from antiphon.runtime.suspicion import Suspicion
from antiphon.runtime.topics import TopicMaker, make_topics
from antiphon.storage.database import Database, Migration
from antiphon.storage.inbox import Inbox
from antiphon.storage.migrations import component_of
from antiphon.storage.set_aside import RetryStore

log = logging.getLogger("antiphon.runtime")

HOLD = timedelta(seconds=60)
"""How long a process that hangs keeps what it claimed of what was set aside."""


class Plan:
    """What a service brings to every run: declarations, options, and the instruments that outlive one run."""

    def __init__(self, declared: Declared, clock: Clock, metrics: Metrics, hooks: Hooks) -> None:
        self.declared = declared
        self.clock = clock
        self.metrics = metrics
        self.hooks = hooks
        self.health = ServiceHealth(declared.service, monotonic=clock.monotonic)
        self.composer = Composer(declared.service, clock)
        self.choices = Choices()
        self.migrations: Sequence[Migration] = ()
        self.stand_ins: StandIns | None = None
        self.chance = Chance()

    def with_stand_ins(self, stand_ins: StandIns) -> Plan:
        """The same plan for a run in another world."""
        plan = copy(self)
        plan.stand_ins, plan.clock = stand_ins.part_for(self.declared), stand_ins.clock
        plan.chance = stand_ins.chance
        plan.composer = Composer(self.name, plan.clock)
        plan.health = ServiceHealth(self.name, monotonic=plan.clock.monotonic)
        return plan

    @property
    def name(self) -> str:
        return self.declared.service

    @property
    def needs_store(self) -> bool:
        """Whether it cannot run without tables: it handles, or has an outbox or tables of its own."""
        return bool(self.declared.by_event or self.migrations or self.choices.outbox)

    def enter(self, state: str) -> None:
        """Say how the service is now, to probes and to whoever watches."""
        if state != self.health.state:
            self.health.state = state
            self.hooks.state_changed(StateChanged(self.name, state))


def check_guarantees(plan: Plan, broker: Broker, store: Database) -> None:
    """Raise GuaranteeError or UnsupportedCapabilityError before anything is opened."""
    letters_kept_by(broker, plan)
    check_sessions(plan.declared.handlers, broker, store, plan.choices.sessions)
    for handler in plan.declared.handlers:
        demand(handler, derive(handler, broker, store, inbox=plan.choices.inbox))


def letters_kept_by(broker: Broker, plan: Plan) -> DeadLettering | None:
    """The broker, where it is to keep the service's dead letters itself. Raises UnsupportedCapabilityError."""
    if plan.choices.dead_letters == "store":
        return None
    if isinstance(broker, DeadLettering) and broker.capabilities.native_dead_letters:
        return broker
    raise UnsupportedCapabilityError(
        f"the broker {broker.url}", "dead-letter queue of its own", f"service {plan.name!r} says dead_letters='broker'"
    )


def _is_stalled(pulse: Pulse) -> float:
    return float(pulse.is_stalled)


class RunningService:
    """Opened by `start`, closed by `stop`; used once."""

    def __init__(self, plan: Plan, broker: Broker, settings: Settings, store: Database) -> None:
        self.plan, self._broker = plan, broker
        self._settings = settings.of_service(plan.name)
        self._all_settings = settings
        stand_ins = plan.stand_ins
        self._dependencies = Dependencies(plan.declared.providers, {} if stand_ins is None else stand_ins.provided)
        self._housekeeping: Housekeeping | None = None
        self._standing: Standing | None = None
        self.store = store
        self.sending = Sending(plan.name, broker, plan.metrics, plan.hooks)
        publish = TopicMaker(broker, settings).publish
        self.staging = Staging(
            broker, self.store, plan.clock, plan.chance, plan.metrics, self.sending, publish, plan.choices.outbox
        )
        asking = TopicMaker(broker, settings, self.sending.publish).publish
        self.asking = Asking(broker, plan.name, plan.clock, plan.metrics, asking)
        self.scheduling = Scheduling(plan.name, broker, self.store, plan.clock, plan.metrics, self.sending)
        # Nobody else can reach the store of a broker that lives in this process.
        idle = IDLE if broker.capabilities.durable else timedelta(minutes=1)
        publishing = (*(() if self.staging.relay is None else (self.staging.relay,)), self.scheduling.runner)
        for publisher in publishing:
            publisher.patience = min(publisher.patience, self._settings.drain_timeout)
        of_store = (*publishing, Redriving(self.store, plan.clock, idle, self._look_again))
        if is_missing(store):
            of_store = ()
        stores = (store, broker.database) if isinstance(broker, StoreBroker) else (store,)
        self._outages = Outages(plan.health, stores, plan.clock)
        for runner in of_store:
            runner.is_told = self._outages.is_told
        self._of_store: Sequence[Runner] = of_store
        """What works off the tables of the store, whichever service filled them."""
        self._sessions = HandlerSessions((), store, ())
        self.consumer: Consumer | None = None
        self._suspicion: Suspicion | None = None

    async def start(self) -> None:
        """Open the broker, migrate, make topics, join the group, begin to handle. When it raises, nothing runs."""
        plan = self.plan
        plan.declared.check(plan.choices.policies)
        check_guarantees(plan, self._broker, self.store)
        plan.enter("starting")
        plan.health.allow(self._settings.stall_after)
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise
        plan.enter("running")

    def _look_again(self) -> None:
        if self.consumer is not None:
            self.consumer.look_again()

    async def _open(self) -> None:
        plan = self.plan
        await self._broker.open()
        await self.store.open()
        if plan.migrations:
            await self.store.migrate(component_of(plan.name), plan.migrations)
        await self.staging.open()
        # Those that only settings name, too: an application may publish to them from now on.
        await make_topics(self._broker, {*plan.declared.topics(), *self._all_settings.topics}, self._all_settings)
        await self._dependencies.open()
        self._sessions = HandlerSessions(plan.declared.handlers, self.store, plan.choices.sessions)
        await self._sessions.open()
        if any(handler.signature.needs.of(Asker) for handler in plan.declared.handlers):
            await self.asking.open()
        if plan.declared.by_event:
            await self._consume()
        for runner in (*self._of_store, *plan.declared.runners):
            await runner.start()

    async def _consume(self) -> None:
        plan, group = self.plan, self._settings.group or self.plan.name
        routes = compile_routes(plan, self._dependencies.values)
        self._sessions.serve(routes)
        subscription = await self._broker.subscribe(group, plan.declared.topics_read(), plan.choices.subscribing)
        surroundings = self._surroundings(subscription, group)
        self._bundle(routes, subscription, surroundings)
        stop_at_gates(routes, surroundings.gates)
        surroundings.answers.serve([route for by_type in routes.values() for route in by_type.values()])
        bounds = Bounds(
            messages=self._settings.inflight_messages,
            bytes=self._settings.inflight_bytes,
            fetch=self._settings.fetch_messages,
            drain=self._settings.drain_timeout,
            concurrency=plan.choices.concurrency or self._settings.concurrency,
            transaction=TransactionBounds(self._settings.transaction_messages, self._settings.transaction_time),
        )
        self.consumer = Consumer(subscription, routes, surroundings, bounds, plan.health)
        self._housekeeping = Housekeeping(self.store, surroundings.inbox, plan.clock, self._settings.keep_marks)
        self._standing = Standing(group, self._broker, self.store, plan.clock, surroundings.instruments)
        self._housekeeping.is_told = self._standing.is_told = self._outages.is_told
        if self._broker.capabilities.durable:  # otherwise nothing outlives the process that could be told
            await surroundings.suspicion.start()
        self._suspicion = surroundings.suspicion
        await self.consumer.control.look()
        for pulse in plan.health.pulses:
            plan.metrics.gauge(names.STALLED, part=pulse.name).follow(partial(_is_stalled, pulse))
        self.consumer.start()
        self._housekeeping.start()
        self._standing.start()

    def _bundle(
        self, routes: Mapping[str, Mapping[str, Route]], subscription: Subscription, surroundings: Surroundings
    ) -> None:
        """Let what some handlers return leave with the watermark, where they demand it and the broker can."""
        inbox = self.plan.choices.inbox
        for route in [route for by_name in routes.values() for route in by_name.values()]:
            route.with_watermark = leaves_with_watermark(route.handler, self._broker, inbox=inbox)
            if route.with_watermark and surroundings.bundles is None:
                settling = surroundings.settling.broker
                assert isinstance(subscription, TransactionalSubscription), "as its broker's capabilities say"
                assert isinstance(settling, LogSettling), "only logs have a watermark"
                surroundings.bundles = settling.bundles = Bundles(surroundings, subscription)

    def _surroundings(self, subscription: Subscription, group: str) -> Surroundings:
        plan, broker = self.plan, self._broker
        settling = (
            LogSettling(subscription) if isinstance(subscription, LogSubscription) else QueueSettling(subscription)
        )
        retries = RetryStore(group, uuid4().hex, HOLD)
        is_before = subscription.is_before if isinstance(subscription, LogSubscription) else None
        surroundings = Surroundings(
            plan.name,
            group,
            broker,
            self.store,
            Sources(settling, Claims(retries, self.store, plan.clock), joins=is_on(broker, self.store)),
            Inbox(group) if plan.choices.inbox else None,
            Blocks(retries, self.store, plan.clock, broker.capabilities, is_before),
            plan,
        )
        surroundings.dead_letters = letters_kept_by(broker, plan)
        surroundings.code_version = self._settings.code_version
        surroundings.is_told = self._outages.is_told
        surroundings.asking = self.asking
        surroundings.keep = self.scheduling.keep
        surroundings.publish_in = self.staging.publish_in
        breakers, limits = plan.declared.gates(plan.choices.breaker, plan.choices.limit)
        surroundings.gates.declare(plan.declared.topics_read(), breakers, limits)
        return surroundings

    async def caught_up(self) -> bool:
        """Settle what is finished; says whether nothing is left to do, as `Service.caught_up`."""
        if self.consumer is not None and self.consumer.failure is not None:
            raise self.consumer.failure
        try:
            # What is handled may be staged, and what is published may have to be handled.
            return await self._is_at_rest() and await self._is_all_handled() and await self._is_at_rest()
        except (BrokerError, StoreError) as error:
            if not is_passing(error):
                raise
            return False  # while one of them is away, something may be left

    async def _is_at_rest(self) -> bool:
        return self.scheduling.runner.is_at_rest() and await self.staging.is_at_rest()

    async def _is_all_handled(self) -> bool:
        consumer = self.consumer
        if consumer is None:
            return True
        return await consumer.settled() and not await self._is_behind(consumer)

    async def _is_behind(self, consumer: Consumer) -> bool:
        lags = await self._broker.lag(self._settings.group or self.plan.name)
        # The group may have read more topics once, or other members do: what lies there is not for this one.
        topics = self.plan.declared.topics_read()
        open_lags = [
            lag
            for lag in lags
            if lag.partition.topic in topics
            and lag.partition not in consumer.paused
            and lag.partition.topic not in consumer.shut
        ]
        return any(lag.messages for lag in open_lags) or await consumer.has_due()

    async def stop(self) -> None:
        """Drain: stop fetching, finish or release, flush, settle, leave the group. Twice is safe."""
        plan = self.plan
        if plan.health.state == "running":
            plan.enter("draining")
        for runner in reversed(plan.declared.runners):
            try:
                await runner.drain()
            except Exception:
                log.exception("runner %s failed during the drain, which goes on", runner.name)
        if self._housekeeping is not None:
            await self._housekeeping.stop()
        if self._standing is not None:
            await self._standing.stop()
        if self.consumer is not None:
            await self.consumer.drain()
        await self.asking.close()
        if self._suspicion is not None:
            await self._suspicion.stop(self._settings.drain_timeout)
        # What handlers emitted until now leaves first.
        await asyncio.gather(*(runner.drain() for runner in self._of_store))
        await self._sessions.close()
        await self._dependencies.close()
        await self._outages.stop()
        plan.enter("stopped")
        plan.metrics.stay()
