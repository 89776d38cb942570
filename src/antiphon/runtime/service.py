"""The user's side: a service declares its handlers and what they need, and is started and stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker
from antiphon.errors import ClosedError, DeclarationError, UsageError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Message
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.runtime.asking import Asker, asker_of
from antiphon.runtime.control import Control
from antiphon.runtime.declared import Declared
from antiphon.runtime.declaring import ServiceDeclarations, caller
from antiphon.runtime.describing import describe_service
from antiphon.runtime.description import ServiceDescription
from antiphon.runtime.dry_run import DryRun, DryRunPlan, dependencies_of, dry_run
from antiphon.runtime.health import ServiceHealth
from antiphon.runtime.options import ServiceOptions, read_service_options
from antiphon.runtime.publisher import Publisher, ServicePublisher
from antiphon.runtime.running import Plan, RunningService
from antiphon.runtime.scheduling import Scheduling
from antiphon.runtime.sending import Sending
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.stand_ins import StandIns
from antiphon.runtime.stores import is_own_store, store_at, store_if_needed
from antiphon.runtime.timing import When, read_timing
from antiphon.runtime.together import transact
from antiphon.storage.database import Database, Migration, Transaction
from antiphon.storage.migrations import load_migrations
from antiphon.storage.schedule import Scheduled

log = logging.getLogger("antiphon.runtime")


class Service(ServiceDeclarations):
    """A consumer group with its handlers. It only declares until it is started; two can live in one process.

    `broker` and `store` are a URL or an opened value each (settings decide without them; a broker with a database of
    its own is the store of a service that has no other); `migrations` is a folder of `0001_name.sql`
    files, relative to the file that makes the service; the other options are those of `ServiceOptions`.
    Raises DeclarationError for a name or option that cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        broker: Broker | str | None = None,
        store: Database | str | None = None,
        migrations: str | Path | None = None,
        **options: Unpack[ServiceOptions],
    ) -> None:
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise DeclarationError(f"service name {name!r}: use letters, digits, '-', '_' and '.'")
        super().__init__(Declared(name))
        self.metrics = Metrics(service=name)
        self.hooks = Hooks(self.metrics)
        self._plan = Plan(self._declared, SystemClock(), self.metrics, self.hooks)
        self._plan.choices = read_service_options(options)
        self._declared.sessions = self._plan.choices.sessions
        # The one of the latest run, so that whoever looks after a stop sees how that ended.
        self._plan_in_force = self._plan
        if migrations is not None:
            folder = Path(caller().f_globals.get("__file__", ".")).parent / migrations
            self._plan.migrations = load_migrations(folder)
        self._given, self._given_store = broker, store
        self._broker: Broker | None = None
        self._running: RunningService | None = None
        self._owns_broker = self._owns_store = False

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def migrations(self) -> Sequence[Migration]:
        """How its tables come to be, in order."""
        return self._plan.migrations

    @property
    def health(self) -> ServiceHealth:
        """How it is; liveness and readiness are computed from it."""
        return self._plan_in_force.health

    @property
    def has_own_broker(self) -> bool:
        """Whether it was made with a broker, which then counts more than settings."""
        return self._given is not None

    @property
    def has_own_store(self) -> bool:
        """Whether it was made with a store, which then counts more than settings."""
        return self._given_store is not None

    def describe(self, broker: Broker | None = None, settings: Settings | None = None) -> ServiceDescription:
        """What it reads and emits, and what holds when it fails; nothing is opened. Raises UsageError."""
        found = settings or load_settings()
        chosen = broker or self._broker or self._choose(found)
        return describe_service(self._plan, chosen, self._choose_store(chosen, found), found)

    def places(self, settings: Settings) -> tuple[Broker, Database]:
        """The broker that it would run on, and the store of its tables; nothing is opened. Raises UsageError."""
        broker = self._broker or self._choose(settings)
        return broker, self._choose_store(broker, settings)

    @property
    def broker(self) -> Broker:
        """The broker it runs on. Raises ClosedError before it was started."""
        if self._broker is None:
            raise ClosedError(f"service {self.name!r}", "use its broker")
        return self._broker

    @property
    def store(self) -> Database:
        """The database of its tables. Raises ClosedError before it was started."""
        return self._require_running("use its store").store

    async def publish(self, event: object, *, key: str | None = None, **when: Unpack[When]) -> str:
        """Publish an event of the application's own, now or `at` a moment or after a `delay`. Many tasks may call it.

        Returns the message's id once the broker holds it; with a time, once it is scheduled. `deadline` is until when
        it is worth handling; a duration counts from its publishing.

        Raises ClosedError, UsageError for a time that cannot be, EncodeError, PublishError, StoreError.
        """
        publisher = ServicePublisher(self._plan_in_force.composer, self._sending.publish, self._scheduling.keep)
        return await publisher.publish(event, key=key, **when)

    def asker(self) -> Asker:
        """What the application asks others with, in the name of the service. Raises ClosedError unless it runs."""
        return asker_of(self._require_running("ask").asking, self._plan_in_force.composer)

    async def publish_all(self, events: Iterable[object], **when: Unpack[When]) -> Sequence[str]:
        """As `publish`, for many events with one confirmation; those of one key keep their order.

        Raises PublishError naming every refused one; the broker holds the others.
        """
        composer = self._plan_in_force.composer
        moment, end = read_timing(composer.now(), **when)
        outgoing = [composer.first(event, deadline=end) for event in events]
        if moment is None:
            await self._sending.publish(outgoing)
        else:
            await self._scheduling.keep(outgoing, moment)
        return [one.message.id for one in outgoing]

    async def scheduled(self, topic: str | None = None, limit: int = 100) -> Sequence[Scheduled]:
        """What this service scheduled and is not published yet, in the order of its moments. Raises ClosedError."""
        return await self._scheduling.scheduled(topic, limit)

    async def cancel(self, id: str, tx: Transaction | None = None) -> bool:
        """Take back what was scheduled, by its message's id; whether it is certain that it will never be published.

        False: it is published already, or just now, or was never scheduled. In a handler with a Transaction, and in
        `transaction()`, give that: it is taken back when it commits, and without it both would wait for each other.
        Raises ClosedError, StoreError.
        """
        return await self._scheduling.cancel(id, tx)

    def transaction(self) -> AbstractAsyncContextManager[tuple[Transaction, Publisher]]:
        """`async with service.transaction() as (tx, publisher)`: writes and events of the application's own.

        They commit together at the end, or not at all when the block raises. Await nothing else inside: every other
        writer waits for it. Raises ClosedError, UnsupportedCapabilityError, PublishError, StoreError.
        """
        composer, scheduling = self._plan_in_force.composer, self._scheduling
        return transact(self.store, composer, self._require_running("write").staging, scheduling)

    def _require_running(self, tried: str) -> RunningService:
        if self._running is None:
            raise ClosedError(f"service {self.name!r}", tried)
        return self._running

    @property
    def _sending(self) -> Sending:
        return self._require_running("publish").sending

    @property
    def _scheduling(self) -> Scheduling:
        return self._require_running("use its schedule").scheduling

    def part_of(self, stand_ins: StandIns) -> StandIns:
        """What of these stands in for something that it declares."""
        return stand_ins.part_for(self._declared)

    def provided_types(self) -> Sequence[type]:
        """The types that it provides to its handlers."""
        return tuple(self._declared.providers)

    def dry_run_needs(self, topic: str, message: Message) -> Sequence[str]:
        """What handling this message would call besides its handler, by name. Raises DeadLetterError."""
        return dependencies_of(self._plan, topic, message)

    async def dry_run(self, topic: str, message: Message, store: Database, how: DryRunPlan | None = None) -> DryRun:
        """Call the present handler of a message, its transaction on `store` rolled back and its events kept.

        Raises DeadLetterError when nobody handles it, or when it would call what `how` neither allows nor replaces.
        """
        return await dry_run(self._plan, store, topic, message, how or DryRunPlan())

    async def pause(self, *topics: str, reason: str = "paused by the application") -> None:
        """Stop handling these topics, or all, in every process of the group; it keeps its place and its partitions.

        What is in hand of them ends. It survives restarts, until `resume`. Raises ClosedError, UsageError, StoreError.
        """
        await self._control("pause").pause(topics or self._declared.topics_read(), reason, f"service {self.name}")

    async def resume(self, *topics: str) -> None:
        """Go on with these topics, or all. Twice is safe. Raises as `pause`."""
        await self._control("resume").resume(topics or self._declared.topics_read())

    def _control(self, tried: str) -> Control:
        if self._running is None or self._running.consumer is None:
            raise ClosedError(f"service {self.name!r}", f"{tried} a topic")
        return self._running.consumer.control

    async def caught_up(self) -> bool:
        """Settle what is finished now, and say whether nothing is left that the broker holds for it.

        What waits for newer code does not count. While broker or store is away something may be left. Raises what
        consuming stopped with, ClosedError before the start.
        """
        return await self._require_running("see how far it is").caught_up()

    async def start(
        self,
        broker: Broker | None = None,
        settings: Settings | None = None,
        stand_ins: StandIns | None = None,
        store: Database | None = None,
    ) -> None:
        """Begin to handle; returns once it runs. Raises AntiphonError, and then nothing runs.

        A broker or store that is given stays open at `stop`; otherwise the service's own, or that of the settings, is
        opened and closed by it. `stand_ins` take the place of its clock, dependencies and fetchers, for tests.
        """
        if self._running is not None:
            raise UsageError(f"service {self.name!r} runs already: stop it before it is started again")
        found = settings or load_settings()
        self._owns_broker = broker is None and not isinstance(self._given, Broker)
        self._broker = broker or self._choose(found)
        plan = self._plan_in_force = self._plan if stand_ins is None else self._plan.with_stand_ins(stand_ins)
        self._running = RunningService(plan, self._broker, found, store or self._choose_store(self._broker, found))
        self._owns_store = store is None and not self._is_given(self._running.store)
        try:
            await self._running.start()
        except BaseException:
            await self._close()
            raise

    def _choose(self, settings: Settings) -> Broker:
        if isinstance(self._given, Broker):
            return self._given
        return connect(self._given or settings.of_service(self.name).broker)

    def _choose_store(self, broker: Broker, settings: Settings) -> Database:
        given = self._given_store or settings.of_service(self.name).store
        if given is None:
            return store_if_needed(broker, self.name, is_needed=self._plan.needs_store)
        return store_at(given, broker) if isinstance(given, str) else given

    def _is_given(self, store: Database) -> bool:
        """Whether somebody else closes it: whoever gave it, or the broker that it belongs to."""
        return store is self._given_store or (self._broker is not None and is_own_store(self._broker, store))

    async def stop(self) -> None:
        """Drain and stop. Twice is safe. Canceling gives up the waiting; call it again to wait for the end."""
        try:
            if self._running is not None:
                await self._running.stop()
        except Exception:
            await self._close()
            raise
        await self._close()

    async def _close(self) -> None:
        broker, running, self._broker, self._running = self._broker, self._running, None, None
        if running is not None and self._owns_store:
            await running.store.close()
        if broker is not None and self._owns_broker:
            await broker.close()

    async def wait(self) -> None:
        """Return never, unless consuming stops by a fault: then raise it."""
        consumer = None if self._running is None else self._running.consumer
        if consumer is None:
            await asyncio.Event().wait()
        else:
            await consumer.failed.wait()
            if consumer.failure is not None:
                raise consumer.failure

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {len(self._declared.handlers)} handlers)"
