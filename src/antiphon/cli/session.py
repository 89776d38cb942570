"""What a command works on: the settings, and the broker and the store opened for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, Browsing, StoreBroker, TableBroker
from antiphon.errors import StoreError, UnsupportedCapabilityError, UsageError
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.stores import is_own_store, store_at
from antiphon.storage.database import Database
from antiphon.storage.migrations import own_migrations
from antiphon.storage.outbox import OUTBOX_GROUP

T = TypeVar("T")
_EMBEDDED, _SQLITE = "embedded:///", "sqlite:///"


class Place(NamedTuple):
    """Where a command works: the broker, and the store of the services' tables."""

    broker: Broker
    store: Database


def settings_for(broker: str | None, store: str | None = None) -> Settings:
    """The settings of this folder, with the broker and store that were given. Raises SettingsError."""
    return load_settings({"broker": broker, "store": store})


def settings_for_store(broker: str | None, store: str | None, group: str | None = None) -> Settings:
    """As `settings_for`, with the one store that a command works on as that of all services.

    It is the one that was given; else that of the group's service, where a group is meant; else the one that all
    services share. Raises UsageError where they have several.
    """
    settings = settings_for(broker, store)
    url = _store_of_group(settings, group) if group not in (None, OUTBOX_GROUP) else _shared_store(settings)
    return replace(settings, common=replace(settings.common, store=url))


def _store_of_group(settings: Settings, group: str | None) -> str | None:
    own = (settings.of_service(name) for name in settings.overrides if _group(settings, name) == group)
    return next(own, settings.common).store


def _group(settings: Settings, service: str) -> str:
    return settings.of_service(service).group or service


def _shared_store(settings: Settings) -> str | None:
    """The URL of the store that all services share; None when it is the broker's own."""
    if not any("store" in table for table in settings.overrides.values()):
        return settings.common.store
    broker = connect(settings.broker)
    # Who has none on a broker without a database only publishes.
    of_all = {name: settings.of_service(name).store for name in sorted(_services(settings))}
    known = {name: url for name, url in of_all.items() if url is not None or isinstance(broker, StoreBroker)}
    services, urls = [*known], [*known.values()]
    if not settings.modules and settings.common.store is not None:
        services, urls = [*services, "others"], [*urls, settings.common.store]
    stores = [_store_on(broker, url).url for url in urls]
    if len(set(stores)) == 1:
        return urls[0]
    told = ", ".join(map("{} in {}".format, services, stores))
    raise UsageError(f"the services keep their tables in several stores, {told}: say which one with --store URL")


def _services(settings: Settings) -> Iterable[str]:
    """Those that have settings of their own, and those that have none, as far as the file names their modules."""
    if not settings.modules:
        return settings.overrides
    from antiphon.cli.modules import load_services  # with it comes the whole runtime

    return {*settings.overrides, *(service.name for service in load_services(None, settings))}


@asynccontextmanager
async def opened(settings: Settings, *, existing: bool = True) -> AsyncGenerator[Broker, None]:
    """The broker, open.

    Raises StoreError when it is a log that is not there, and UsageError when its file is none of ours or of an older
    version, where it should be `existing`.
    """
    broker = connect(settings.broker)
    if existing:
        _require_log(settings)
        await _require_own_tables(broker)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def is_unmade(settings: Settings) -> bool:
    """Whether the broker keeps its log in tables that are not there yet: opening it would make them. Only reads."""
    broker = connect(settings.broker)
    if not (isinstance(broker, TableBroker) and isinstance(broker, StoreBroker) and broker.capabilities.durable):
        return False
    return len(await broker.database.missing(broker.component, broker.migrations)) == len(broker.migrations)


@asynccontextmanager
async def opened_with_store(settings: Settings, *, existing: bool = True) -> AsyncGenerator[Place, None]:
    """The broker and the store that `settings_for_store` chose, open; the broker's own, where it chose none.

    Raises StoreError when a file is not there, and UsageError when Antiphon's tables are not there or of an older
    version, where they should be `existing`; UnsupportedCapabilityError without any store.
    """
    broker = connect(settings.broker)
    store = _store_on(broker, settings.common.store)
    if existing:
        _require_log(settings)
        await _require_own_tables(broker)
    async with AsyncExitStack() as steps:
        await broker.open()
        steps.push_async_callback(broker.close)
        await _open_store(steps, broker, store, existing=existing)
        yield Place(broker, store)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncGenerator[Place, None]:
    """As `opened_with_store`, for what needs nothing but the store: no broker is needed besides, and no log.

    The broker is open where the store is its own, or where it keeps dead letters itself; else it may only be asked what
    it can do.
    """
    broker = connect(settings.broker)
    store = _store_on(broker, settings.common.store)
    if is_own_store(broker, store) or broker.capabilities.native_dead_letters:
        async with opened_with_store(settings) as place:
            yield place
        return
    async with AsyncExitStack() as steps:
        await _open_store(steps, broker, store, existing=True)
        yield Place(broker, store)


async def _open_store(steps: AsyncExitStack, broker: Broker, store: Database, *, existing: bool) -> None:
    """Open a store that is not the broker's own, until `steps` end."""
    if is_own_store(broker, store):
        return
    if existing:
        require_file(store, "run a service on it first, or name another with --store")
        await _require_tables(store)
    await store.open()
    steps.push_async_callback(store.close)


def _store_on(broker: Broker, url: str | None) -> Database:
    if url is not None:
        return store_at(url, broker)
    if isinstance(broker, StoreBroker):
        return broker.database
    why = "say with --store URL, or with store in antiphon.toml, where its services keep their tables"
    raise UnsupportedCapabilityError(f"the broker {broker.url}", "database of its own", why)


def _require_log(settings: Settings) -> None:
    file = log_file(settings.broker)
    if file is not None and not file.exists():
        raise StoreError(
            f"there is no log at {file}: run a service or publish an event first, or name another with --broker"
        )


async def _require_own_tables(broker: Broker) -> None:
    """As `_require_tables`, for the database of a broker that stays."""
    if isinstance(broker, StoreBroker) and broker.capabilities.durable:
        await _require_tables(broker.database)


async def _require_tables(store: Database) -> None:
    """Raise UsageError unless Antiphon's tables are there, since opening the store would make them or change them."""
    missing = await store.missing("antiphon", own_migrations())
    if len(missing) == len(own_migrations()):
        why = ", or this user may not use its schema" if file_of(store) is None else ""
        raise UsageError(f"there is nothing of Antiphon in {store.url}{why}: antiphon storage migrate makes it")
    if missing:
        raise UsageError(f"{store.url} is older than this command: antiphon storage migrate brings it up to date")


def require_file(store: Database, otherwise: str) -> None:
    """Raise StoreError when the store is a file that is not there, saying what to do `otherwise`."""
    file = file_of(store)
    if file is not None and not file.exists():
        raise StoreError(f"there is no store at {file}: {otherwise}")


def file_of(store: Database) -> Path | None:
    """The file of a store that is one."""
    return _file(store.url, _SQLITE)


def log_file(url: str) -> Path | None:
    """The file of an embedded log, which settings have made absolute."""
    return _file(url, _EMBEDDED)


def _file(url: str, scheme: str) -> Path | None:
    return Path(url.removeprefix(scheme).partition("?")[0]) if url.startswith(scheme) else None


def browsing(broker: Broker) -> Browsing:
    """The broker as one that can be read without a group. Raises UnsupportedCapabilityError."""
    if not isinstance(broker, Browsing) or not broker.capabilities.replay:
        raise UnsupportedCapabilityError(f"the broker {broker.url}", "reading without a group", "it keeps no log")
    return broker


def run_async(work: Coroutine[object, object, T]) -> T:
    """Run the command's own coroutine."""
    return asyncio.run(work)
