"""One service while it runs: what it opened, in which order, and how it stops."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy

from antiphon.brokers.ports import Broker, LogSubscription, StoreBroker, SubscribeOptions, Subscription
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.clock import Clock
from antiphon.observability.hooks import Hooks, StateChanged
from antiphon.observability.metrics import Metrics
from antiphon.resilience.policy import Retry
from antiphon.runtime.compiling import compile_routes
from antiphon.runtime.compose import Composer
from antiphon.runtime.consumer import Bounds, Consumer
from antiphon.runtime.declared import Declared
from antiphon.runtime.dependencies import Dependencies
from antiphon.runtime.guarantees import demand, derive
from antiphon.runtime.health import ServiceHealth
from antiphon.runtime.housekeeping import Housekeeping
from antiphon.runtime.pauses import Pauses
from antiphon.runtime.route import Handler
from antiphon.runtime.settings import Settings
from antiphon.runtime.settlement import LogSettling, QueueSettling
from antiphon.runtime.shared import TransactionBounds
from antiphon.runtime.stand_ins import StandIns
from antiphon.runtime.standing import Standing
from antiphon.runtime.surroundings import Surroundings
from antiphon.runtime.topics import make_topics
from antiphon.storage.database import Database, Migration
from antiphon.storage.inbox import Inbox

log = logging.getLogger("antiphon.runtime")


class Plan:
    """What a service brings to every run: declarations, options, and the instruments that outlive one run."""

    def __init__(self, declared: Declared, clock: Clock, metrics: Metrics, hooks: Hooks) -> None:
        self.declared = declared
        self.clock = clock
        self.metrics = metrics
        self.hooks = hooks
        self.health = ServiceHealth(declared.service, monotonic=clock.monotonic)
        self.composer = Composer(declared.service, clock)
        self.policy = Retry()
        self.inbox = True
        self.subscribing = SubscribeOptions()
        self.migrations: Sequence[Migration] = ()
        self.concurrency: int | None = None
        self.stand_ins: StandIns | None = None

    def with_stand_ins(self, stand_ins: StandIns) -> Plan:
        """The same plan for a run in another world."""
        plan = copy(self)
        plan.stand_ins, plan.clock = stand_ins.part_for(self.declared), stand_ins.clock
        plan.composer = Composer(self.name, plan.clock)
        plan.health = ServiceHealth(self.name, monotonic=plan.clock.monotonic)
        return plan

    @property
    def name(self) -> str:
        return self.declared.service

    def enter(self, state: str) -> None:
        """Say how the service is now, to probes and to whoever watches."""
        if state != self.health.state:
            self.health.state = state
            self.hooks.state_changed(StateChanged(self.name, state))


def store_of(broker: Broker, service: str) -> Database:
    """The database that a service keeps its tables in. Raises UnsupportedCapabilityError."""
    if isinstance(broker, StoreBroker):
        return broker.database
    raise UnsupportedCapabilityError(
        f"the broker {broker.url}",
        "database of its own",
        f"service {service!r} needs one for its inbox and dead letters: use embedded:/// or memory:///",
    )


def check_guarantees(plan: Plan, broker: Broker) -> None:
    """Raise GuaranteeError or UnsupportedCapabilityError before anything is opened."""
    shares = isinstance(broker, StoreBroker)
    for handler in plan.declared.handlers:
        demand(handler, derive(handler, broker.capabilities, shares_store=shares, inbox=plan.inbox))
        _check_transaction(handler, broker)


def _check_transaction(handler: Handler, broker: Broker) -> None:
    if handler.signature.needs.transaction and not broker.capabilities.store_transactions:
        raise UnsupportedCapabilityError(
            f"the broker {broker.url}",
            "transactions with a store",
            f"{handler.name} asks for a Transaction, and its writes, events and watermark could not commit together",
        )


class RunningService:
    """Opened by `start`, closed by `stop`; used once."""

    def __init__(self, plan: Plan, broker: Broker, settings: Settings) -> None:
        self.plan, self._broker = plan, broker
        self._settings = settings.of_service(plan.name)
        self._all_settings = settings
        stand_ins = plan.stand_ins
        self._dependencies = Dependencies(plan.declared.providers, {} if stand_ins is None else stand_ins.provided)
        self._housekeeping: Housekeeping | None = None
        self._standing: Standing | None = None
        self.store = store_of(broker, plan.name)
        self.consumer: Consumer | None = None

    async def start(self) -> None:
        """Open the broker, migrate, make topics, join the group, begin to handle. When it raises, nothing runs."""
        plan = self.plan
        plan.declared.check()
        check_guarantees(plan, self._broker)
        plan.enter("starting")
        plan.health.allow(self._settings.stall_after)
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise
        plan.enter("running")

    async def _open(self) -> None:
        plan = self.plan
        await self._broker.open()
        await self.store.open()
        if plan.migrations:
            await self.store.migrate(f"service:{plan.name}", plan.migrations)
        # Those that only settings name, too: an application may publish to them from now on.
        await make_topics(self._broker, {*plan.declared.topics(), *self._all_settings.topics}, self._all_settings)
        await self._dependencies.open()
        if plan.declared.by_event:
            await self._consume()
        for runner in plan.declared.runners:
            await runner.start()

    async def _consume(self) -> None:
        plan, group = self.plan, self._settings.group or self.plan.name
        routes = compile_routes(plan.declared, self._dependencies.values, plan.metrics, plan.policy, plan.stand_ins)
        subscription = await self._broker.subscribe(group, plan.declared.topics_read(), plan.subscribing)
        surroundings = self._surroundings(subscription, group)
        bounds = Bounds(
            messages=self._settings.inflight_messages,
            bytes=self._settings.inflight_bytes,
            fetch=self._settings.fetch_messages,
            drain=self._settings.drain_timeout,
            concurrency=plan.concurrency or self._settings.concurrency,
            transaction=TransactionBounds(self._settings.transaction_messages, self._settings.transaction_time),
        )
        self.consumer = Consumer(subscription, routes, surroundings, bounds, plan.health)
        surroundings.pauses.again = self.consumer.again
        self._housekeeping = Housekeeping(self.store, surroundings.inbox, plan.clock)
        self._standing = Standing(group, self._broker, self.store, plan.clock, surroundings.instruments)
        self.consumer.start()
        self._housekeeping.start()
        self._standing.start()

    def _surroundings(self, subscription: Subscription, group: str) -> Surroundings:
        plan = self.plan
        settling = (
            LogSettling(subscription) if isinstance(subscription, LogSubscription) else QueueSettling(subscription)
        )
        surroundings = Surroundings(
            plan.name,
            group,
            self._broker,
            self.store,
            settling,
            Inbox(group) if plan.inbox else None,
            Pauses(plan.clock, settling),
            plan,
        )
        surroundings.code_version = self._settings.code_version
        return surroundings

    async def caught_up(self) -> bool:
        """Settle what is finished; says whether nothing is left to do, as `Service.caught_up`."""
        consumer = self.consumer
        if consumer is None:
            return True
        if consumer.failure is not None:
            raise consumer.failure
        return await consumer.settled() and not await self._is_behind(consumer)

    async def _is_behind(self, consumer: Consumer) -> bool:
        lags = await self._broker.lag(self._settings.group or self.plan.name)
        # The group may have read more topics once, or other members do: what lies there is not for this one.
        topics = self.plan.declared.topics_read()
        open_lags = [lag for lag in lags if lag.partition.topic in topics and lag.partition not in consumer.paused]
        return any(lag.messages for lag in open_lags)

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
        await self._dependencies.close()
        plan.enter("stopped")
