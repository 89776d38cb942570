"""`antiphon storage`: which tables are missing in a store, and how do they come to be?"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, TableBroker
from antiphon.cli.modules import load_services
from antiphon.cli.options import BrokerOption, JsonOption, ModulesArgument, StoreOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import log_file, run_async, settings_for
from antiphon.errors import UsageError
from antiphon.runtime.service import Service
from antiphon.runtime.settings import FILE_NAME, Settings
from antiphon.runtime.storeless import is_missing
from antiphon.runtime.stores import is_own_store, store_at, store_of
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database, Migration
from antiphon.storage.migrations import component_of, own_migrations

app = typer.Typer(add_completion=False, no_args_is_help=True)


class Component(NamedTuple):
    """Who has tables in a store, and how they come to be."""

    name: str
    migrations: Sequence[Migration]


class Target(NamedTuple):
    """A store, and whose tables belong into it."""

    store: Database
    components: Sequence[Component]


class Step(NamedTuple):
    """One migration that is missing, and in which store."""

    store: Database
    component: str
    migration: Migration


@app.callback()
def storage() -> None:
    """Show which tables are missing in a store, or make them."""


@app.command()
def plan(
    modules: ModulesArgument = None,
    store: StoreOption = None,
    broker: BrokerOption = None,
    sql: Annotated[bool, typer.Option("--sql", help="Show the statements, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the migrations that `migrate`, or the next start of a service, will apply. Changes nothing."""
    settings = settings_for(broker)
    targets = _targets(modules, store, settings)
    _print(run_async(_missing(targets)), "to apply", as_json=as_json, sql=sql)
    _tell_what_was_left_out(modules, settings, as_json=as_json)


@app.command()
def migrate(
    modules: ModulesArgument = None, store: StoreOption = None, broker: BrokerOption = None, as_json: JsonOption = False
) -> None:
    """Apply what is missing, each migration whole or not at all. Twice, or at once elsewhere, is safe."""
    settings = settings_for(broker)
    targets = _targets(modules, store, settings)
    if not modules:
        _require_a_place(targets, settings, broker)
    _print(run_async(_apply(targets)), "applied", as_json=as_json)
    _tell_what_was_left_out(modules, settings, as_json=as_json)


def _targets(modules: Sequence[str] | None, store: str | None, settings: Settings) -> list[Target]:
    """The store that was named, or those that the services keep their tables in. Raises UsageError."""
    services = load_services(modules, settings) if modules or settings.modules else []
    if store is not None:
        return [Target(connect_store(store), [_own(), *_of_services(services)])]
    if not services:
        broker = connect(settings.broker)
        url = settings.common.store
        return [_target(broker, store_of(broker, "antiphon") if url is None else store_at(url, broker), [])]
    places: dict[str, tuple[Broker, Database]] = {}
    by_store: defaultdict[str, list[Service]] = defaultdict(list)
    for service in services:
        broker, database = service.places(settings)
        if is_missing(database):
            continue  # it only publishes
        places.setdefault(database.url, (broker, database))
        by_store[database.url].append(service)
    return [_target(*places[url], of_url) for url, of_url in by_store.items()]


def _require_a_place(targets: Sequence[Target], settings: Settings, broker: str | None) -> None:
    """Raise UsageError where nobody said that there should be a log, so that it would be made by a slip."""
    file = log_file(settings.broker)
    is_said = broker is not None or settings.file is not None or "ANTIPHON_BROKER" in os.environ
    is_meant = any(len(target.components) > 1 for target in targets)  # a log's tables beside our own
    if is_said or not is_meant or file is None or file.exists():
        return
    raise UsageError(
        f"there is no log at {file} and no {FILE_NAME}: name a store with --store URL, or a log to be made with "
        "--broker embedded:///PATH"
    )


def _tell_what_was_left_out(modules: Sequence[str] | None, settings: Settings, *, as_json: bool) -> None:
    """Without a module nobody knows what tables the services have."""
    if not as_json and not modules and not settings.modules:
        print("the services' own tables were not looked at: name their modules, as in antiphon storage plan payments")


def _target(broker: Broker, store: Database, services: Sequence[Service]) -> Target:
    is_own = is_own_store(broker, store)
    if is_own and not broker.capabilities.durable:
        raise UsageError(f"the broker {broker.url} keeps its tables in memory: name a store that stays with --store")
    log: list[Component] = []
    if is_own and isinstance(broker, TableBroker):
        log.append(Component(broker.component, broker.migrations))
    return Target(store, [_own(), *log, *_of_services(services)])


def _own() -> Component:
    return Component("antiphon", own_migrations())


def _of_services(services: Sequence[Service]) -> list[Component]:
    return [Component(component_of(each.name), each.migrations) for each in services if each.migrations]


async def _missing(targets: Sequence[Target]) -> list[Step]:
    return [
        Step(store, component.name, migration)
        for store, components in targets
        for component in components
        for migration in await store.missing(component.name, component.migrations)
    ]


async def _apply(targets: Sequence[Target]) -> list[Step]:
    steps = await _missing(targets)
    for store, components in targets:
        await store.open()
        try:
            for component in components:
                await store.migrate(component.name, component.migrations)
        finally:
            await store.close()
    return steps


def _print(steps: Sequence[Step], what: str, *, as_json: bool, sql: bool = False) -> None:
    if as_json:
        print_json([_in_json(step) for step in steps])
        return
    if not steps:
        print("every table is up to date")
    for store in dict.fromkeys(step.store for step in steps):
        of_store = [step for step in steps if step.store is store]
        print_text(f"{store.url}: {len(of_store)} {what}")
        for step in of_store:
            print_text(f"  {step.component}  {step.migration.version:04} {step.migration.name}")
            if sql:
                print_text("".join(f"      {line}\n" for line in step.migration.sql.strip().splitlines()))


def _in_json(step: Step) -> dict[str, object]:
    version, name = step.migration.version, step.migration.name
    return {
        "store": step.store.url,
        "component": step.component,
        "version": version,
        "name": name,
        "sql": step.migration.sql,
    }
