"""What would a handler do with this message? It is called for real, and nothing of it stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import TypeVar, cast, overload

from msgspec import Struct

from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import DeadLetterError, ItemsFailedError
from antiphon.events.message import Message, Outgoing
from antiphon.observability.metrics import Metrics
from antiphon.runtime.asking import Asker
from antiphon.runtime.compiling import compile_routes
from antiphon.runtime.dependencies import Dependencies, Provider
from antiphon.runtime.options import Choices
from antiphon.runtime.publisher import HandlerPublisher
from antiphon.runtime.route import Given, Handler, Mode, Route, call_plain, collect, events_of
from antiphon.runtime.running import Plan
from antiphon.runtime.sessions import HandlerSessions
from antiphon.runtime.signature import Shape, is_provided_by_runtime, where
from antiphon.runtime.surroundings import failure_of
from antiphon.runtime.work import read
from antiphon.storage.database import Database, OpenTransaction, Row, SqlValue, Transaction
from antiphon.storage.sessions import SessionTransaction

T = TypeVar("T")
_NOTHING: Mapping[type, object] = MappingProxyType({})
_PATIENCE = timedelta(seconds=30)


class Statement(Struct, frozen=True):
    """One statement that the handler ran, and how many rows it returned; undone since."""

    sql: str
    args: tuple[SqlValue, ...]
    rows: int | None = None


class DryRun(Struct, frozen=True, kw_only=True):
    """What a handler did with a message, all of it undone or kept back."""

    handler: str
    place: str
    """Where it is written: `module.function (file:line)`."""
    error: str | None
    """What it raised; None when it succeeded."""
    emits: tuple[Outgoing, ...]
    schedules: tuple[tuple[Outgoing, datetime], ...]
    """What it would publish later, and when."""
    statements: tuple[Statement, ...]
    called: tuple[str, ...]
    """What was really called: dependencies, fetchers and middleware that were allowed by name."""
    replaced: tuple[str, ...]
    took: timedelta


class DryRunPlan(Struct, frozen=True, kw_only=True):
    """How to run dry: what may really be called, by name, and what stands in for which type that is provided."""

    allow: Collection[str] = ()
    replace: Mapping[type, object] = _NOTHING
    patience: timedelta = _PATIENCE
    """How long it may take; other writers of its store wait for it."""


def dependencies_of(plan: Plan, topic: str, message: Message, replace: Mapping[type, object] = _NOTHING) -> list[str]:
    """What handling this message would call besides the handler: names to be allowed or replaced.

    Raises DeadLetterError when nobody handles it.
    """
    handler, event = _declared(plan, topic, message)
    fetching = plan.declared.fetching(event)
    wanted = [kind for _, kind in handler.signature.needs.parameters if not is_provided_by_runtime(kind)]
    kinds = _with_needs(plan, [kind for kind in wanted if fetching is None or kind is not fetching.gives], replace)
    names = [kind.__name__ for kind in kinds]
    if handler.signature.needs.of(Asker) and Asker not in replace:
        names.append(Asker.__name__)
    if fetching is not None:
        names.append(getattr(fetching.function, "__name__", "fetcher"))
    return [*names, *(getattr(each, "__name__", repr(each)) for each in plan.declared.middleware)]


async def dry_run(plan: Plan, store: Database, topic: str, message: Message, how: DryRunPlan) -> DryRun:
    """Call the present handler of a message, its transaction rolled back and its events kept.

    Raises DeadLetterError when nobody handles it, or when it would call something that is neither allowed nor replaced:
    nothing was called then. What the handler reaches without asking for it, such as a client of its module, is not
    seen and is called for real.
    """
    handler, _ = _declared(plan, topic, message)
    replaced = {kind.__name__ for kind in how.replace}
    needed = dependencies_of(plan, topic, message, how.replace)
    refused = [name for name in needed if name not in replaced and name not in how.allow]
    if refused:
        raise DeadLetterError(
            f"{handler.name} would call {', '.join(refused)} for real: replace each by another value, or allow it by "
            "its name (--replace Type=module:value, --allow Name)"
        )
    if Asker.__name__ in needed:
        raise DeadLetterError(
            f"{handler.name} would ask others, who would act on it: replace what it asks with (--replace "
            "Asker=module:value)"
        )
    dependencies = Dependencies(_providers(plan, needed), how.replace)
    await dependencies.open()
    try:
        values = {**dict.fromkeys(plan.declared.providers), **dependencies.values}
        route = compile_routes(_Bench(plan), values)[topic][message.type]
        stage = _Stage(plan, store, route, message, topic)
        stage.asker = cast("Asker | None", how.replace.get(Asker))
        found = await stage.run(how.patience)
    finally:
        await dependencies.close()
    called = tuple(name for name in needed if name not in replaced)
    return DryRun(
        handler=handler.name,
        place=where(handler.function),
        called=called,
        replaced=tuple(name for name in needed if name in replaced),
        error=found.error,
        emits=tuple(found.outgoing),
        schedules=tuple(found.scheduled),
        statements=tuple(found.statements),
        took=found.took,
    )


class _Bench:
    """What routes are compiled from, with metrics of its own that nobody reads."""

    def __init__(self, plan: Plan) -> None:
        self.declared, self.choices, self.stand_ins = plan.declared, Choices(), plan.stand_ins
        self.metrics = Metrics(service=plan.name)


class _Stage:
    """One call of one handler, with everything that it does caught."""

    def __init__(self, plan: Plan, store: Database, route: Route, message: Message, topic: str) -> None:
        self._plan, self._store, self._route, self._message = plan, store, route, message
        self._delivery = Delivery(Partition(topic, 0), "0", message)
        self.asker: Asker | None = None
        """What it asks with: a stand-in."""
        self.outgoing: list[Outgoing] = []
        self.scheduled: list[tuple[Outgoing, datetime]] = []
        self.statements: list[Statement] = []
        self.error: str | None = None
        self.took = timedelta()

    async def run(self, patience: timedelta) -> _Stage:
        began = perf_counter()
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await self._run()
        except TimeoutError:
            is_thread = self._route.shape in (Shape.PLAIN, Shape.GENERATOR)
            rest = "as a plain function it goes on in its thread" if is_thread else "it was stopped"
            self.error = f"it took longer than {patience.total_seconds():g} s; {rest}"
        except ItemsFailedError as error:
            self.error = _said(error.items.get(0, error))
        except (Exception, asyncio.CancelledError) as error:
            self.error = _said(failure_of(error))
        self.took = timedelta(seconds=perf_counter() - began)
        return self

    async def _run(self) -> None:
        event = read(self._route, self._message)
        details = await self._route.fetcher(event) if self._route.fetcher is not None else None
        if self._route.mode is Mode.SESSION:
            await self._run_in_session(event, details)
            return
        if self._route.mode not in (Mode.SHARED, Mode.OWN):
            await self._call(event, None, details)
            return
        tx = await self._store.begin()
        try:
            await self._call(event, RecordingTransaction(tx, self.statements), details)
        finally:
            await tx.rollback()

    async def _run_in_session(self, event: object, details: object) -> None:
        """What it runs over its session is not seen by us, and is undone all the same."""
        route, plan = self._route, self._plan
        sessions = HandlerSessions([route.handler], self._store, plan.choices.sessions)
        await sessions.open()
        try:
            tx = await sessions.by_handler[route.name].begin()
            try:
                await tx.guard()
                await self._call(event, tx, details, tx)
                await tx.require_unended()
            finally:
                await tx.rollback()
        finally:
            await sessions.close()

    async def _call(
        self, event: object, tx: Transaction | None, details: object, session: SessionTransaction | None = None
    ) -> None:
        route, composer = self._route, self._plan.composer
        publisher = HandlerPublisher(composer, self._message, route.name, route.allowed, self._gather, self._keep)
        given = Given(self._delivery, tx, publisher, details, asker=self.asker)
        if session is not None:
            given.session, given.call = session.session, session.call
        events: object = event if route.batch_size is None else [event]
        if route.shape in (Shape.ASYNC, Shape.ASYNC_GENERATOR):
            result = await collect(route.call(events, given), route.shape)
        else:
            result = await given.call(partial(call_plain, route.call, route.shape, events, given))
        for index, emitted in enumerate(events_of(result), publisher.count):
            self.outgoing.append(composer.caused(emitted, self._message, route.name, index))

    async def _gather(self, outgoing: Sequence[Outgoing]) -> None:
        self.outgoing.extend(outgoing)

    async def _keep(self, outgoing: Sequence[Outgoing], at: datetime) -> None:
        self.scheduled.extend((one, at) for one in outgoing)


class RecordingTransaction:
    """A transaction whose statements are noted; whoever made it rolls it back."""

    def __init__(self, tx: OpenTransaction, statements: list[Statement]) -> None:
        self._tx, self._statements = tx, statements

    async def execute(self, sql: str, *args: SqlValue) -> None:
        await self._tx.execute(sql, *args)
        self._statements.append(Statement(sql, args))

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        kept = [tuple(row) for row in rows]
        await self._tx.execute_many(sql, kept)
        self._statements += [Statement(sql, row) for row in kept]

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        found = await self._tx.fetch(sql, *args) if row is None else await self._tx.fetch(sql, *args, row=row)
        self._statements.append(Statement(sql, args, len(found)))
        return found

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        found = await self._tx.fetch_one(sql, *args) if row is None else await self._tx.fetch_one(sql, *args, row=row)
        self._statements.append(Statement(sql, args, int(found is not None)))
        return found

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Never called: it does not commit."""


def _declared(plan: Plan, topic: str, message: Message) -> tuple[Handler, type]:
    found = plan.declared.by_event.get((topic, message.type))
    if found is None:
        raise DeadLetterError(
            f"service {plan.name!r} has no handler for {message.type!r} from {topic!r}: nothing to run"
        )
    return found


def _with_needs(plan: Plan, kinds: Iterable[type], replace: Mapping[type, object]) -> list[type]:
    """These types, and whatever their providers ask for in turn, where those are called."""
    found: dict[type, None] = {}
    todo = list(kinds)
    while todo:
        kind = todo.pop(0)
        provider = None if kind in replace else plan.declared.providers.get(kind)
        if kind not in found:
            found[kind] = None
            todo += [need for _, need in provider.needs] if provider is not None else []
    return list(found)


def _providers(plan: Plan, needed: Collection[str]) -> dict[type, Provider]:
    """Those that the handler needs: the others are not called."""
    return {kind: provider for kind, provider in plan.declared.providers.items() if kind.__name__ in needed}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
