"""Several services in one process: one broker each URL, signals, probes, and a drain side by side."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from msgspec.structs import replace

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker
from antiphon.errors import SettingsError, UsageError
from antiphon.runtime.probes import Probes
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.stores import is_own_store, store_at
from antiphon.runtime.workers import same_program, stop_when_orphaned, worker_number
from antiphon.storage.database import Database

log = logging.getLogger("antiphon.runtime")


class Host:
    """Runs services until it is told to stop or one of them fails."""

    def __init__(self, services: Sequence[Service], settings: Settings) -> None:
        self._services, self._settings = services, settings
        self._brokers: dict[str, Broker] = {}
        self._stores: dict[str, Database] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin to drain. Twice is safe."""
        self._stopping.set()

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Start every service, call `started`, and return after the drain. Raises what a service failed with."""
        probes = self._probes()
        try:
            if probes is not None:
                await probes.start()
            for service in self._services:
                broker = self._broker_of(service)
                await service.start(broker, self._settings, store=self._store_of(service, broker))
            started()
            await self._wait()
        finally:
            await self._stop(probes)

    def _probes(self) -> Probes | None:
        if self._settings.health is None:
            return None
        services = self._services
        return Probes([each.health for each in services], [each.metrics for each in services], self._settings.health)

    def _broker_of(self, service: Service) -> Broker | None:
        """Services on one URL share one broker, so that what one publishes wakes the others at once."""
        if service.has_own_broker:
            return None
        url = self._settings.of_service(service.name).broker
        if url not in self._brokers:
            self._brokers[url] = connect(url)
        return self._brokers[url]

    def _store_of(self, service: Service, broker: Broker | None) -> Database | None:
        """Services on one URL share one store, as they share a broker."""
        url = self._settings.of_service(service.name).store
        if service.has_own_store or broker is None or url is None:
            return None
        if url not in self._stores:
            store = store_at(url, broker)
            if is_own_store(broker, store):
                return store
            self._stores[url] = store
        return self._stores[url]

    async def _wait(self) -> None:
        waits = [asyncio.create_task(service.wait()) for service in self._services]
        waits.append(asyncio.create_task(self._stopped()))
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()

    async def _stopped(self) -> None:
        await self._stopping.wait()

    async def _stop(self, probes: Probes | None) -> None:
        """Services first, then what they stand on; a step that fails keeps none of the others from running."""
        async with AsyncExitStack() as steps:
            if probes is not None:
                steps.push_async_callback(probes.stop)
            for broker in self._brokers.values():
                steps.push_async_callback(broker.close)
            for store in self._stores.values():
                steps.push_async_callback(store.close)
            steps.push_async_callback(self._stop_services)

    async def _stop_services(self) -> None:
        """Side by side: while a store is away each needs all of its patience, and a process is given little time."""
        ended = await asyncio.gather(*(service.stop() for service in self._services), return_exceptions=True)
        failures = [each for each in ended if isinstance(each, BaseException)]
        for failure in failures[1:]:
            log.error("another service failed while it stopped: %s", failure, exc_info=failure)
        for failure in failures[:1]:
            raise failure


def check_groups(services: Sequence[Service], settings: Settings) -> None:
    """Raise SettingsError when two would be one group: each would skip what only the other handles."""
    known: dict[tuple[str, str], str] = {}
    for service in services:
        if service.has_own_broker:
            continue
        own = settings.of_service(service.name)
        place = (own.broker, own.group or service.name)
        if place in known:
            group = place[1]
            raise SettingsError(
                f"the services {known[place]!r} and {service.name!r} have one consumer group, {group!r}: each would "
                "get a part of the messages, and skip what only the other handles; give one another name or group"
            )
        known[place] = service.name


async def run_async(
    services: Sequence[Service], settings: Settings | None = None, started: Callable[[], None] = lambda: None
) -> None:
    """Run `services` until SIGINT or SIGTERM, drain, and return. A second signal ends the process at once."""
    if not services:
        raise UsageError("run() needs at least one service")
    found = settings or load_settings()
    check_groups(services, found)
    host = Host(services, found)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(each, _stop_once, loop, host, each)
    await host.run(started)


def _stop_once(loop: asyncio.AbstractEventLoop, host: Host, number: signal.Signals) -> None:
    log.info("%s: draining; once more ends it at once", number.name)
    host.stop()
    loop.remove_signal_handler(number)


def run(*services: Service, broker: str | None = None, health: int | None = None, workers: int | None = None) -> None:
    """Run `services` until SIGINT or SIGTERM; returns after the drain. Raises AntiphonError.

    With `workers` (or that setting) above 1 this program is started so many times, as processes that share the
    groups' partitions; this one then watches over them, and ends with SystemExit when they cannot run.
    """
    settings = load_settings({"broker": broker, "health": health, "workers": workers})
    number = worker_number()
    if number is None and settings.common.workers > 1:
        code = same_program(settings.common.workers).run()
        if code:
            raise SystemExit(code)
        return
    if number is not None:
        stop_when_orphaned()
        settings = _with_own_port(settings, number)
    asyncio.run(run_async(services, settings))


def _with_own_port(settings: Settings, number: int) -> Settings:
    return settings if settings.health is None else replace(settings, health=settings.health + number)
