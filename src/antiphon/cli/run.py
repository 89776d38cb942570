"""`antiphon run`: services until they are stopped, in one process or in several."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from antiphon.cli.failures import ExitCode
from antiphon.cli.modules import load_services
from antiphon.cli.option_sets import OptionSet, app_of
from antiphon.cli.options import BrokerOption, HealthOption, JsonLogsOption, ModulesArgument, StoreOption, VerboseOption
from antiphon.cli.workers import worker_command
from antiphon.observability.logging import configure_logging
from antiphon.runtime.host import run_async
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.summary import summarize
from antiphon.runtime.workers import Supervisor, Worker, stop_when_orphaned

WorkersOption = Annotated[int | None, typer.Option("--workers", "-w", metavar="N", help="Run so many processes.")]
ReloadOption = Annotated[bool, typer.Option("--reload", help="Start again when a file changes; for development.")]
WorkerOption = Annotated[int | None, typer.Option("--worker", hidden=True)]


@dataclass(frozen=True, kw_only=True)
class Logs(OptionSet):
    """What is logged, and how."""

    as_json: JsonLogsOption = None
    verbose: VerboseOption = False


def run(
    logs: Logs,
    modules: ModulesArgument = None,
    broker: BrokerOption = None,
    store: StoreOption = None,
    health: HealthOption = None,
    workers: WorkersOption = None,
    reload: ReloadOption = False,
    worker: WorkerOption = None,
) -> None:
    """Run services until they are stopped.

    The first Ctrl-C (or SIGTERM) drains: what runs is finished, settled, and the group is left. The second ends it.
    """
    configure_logging(logging.DEBUG if logs.verbose else logging.INFO, json=logs.as_json)
    settings = load_settings({"broker": broker, "store": store, "health": health, "workers": workers})
    if worker is not None:
        stop_when_orphaned()
    elif reload or settings.common.workers > 1:
        count, port = settings.common.workers, settings.health
        supervisor = Supervisor(Worker(worker_command(sys.argv[1:], number, port)) for number in range(count))
        raise typer.Exit(supervisor.run(settings.folder if reload else None))
    _serve(load_services(modules, settings), settings, quiet=bool(worker))


def _serve(services: list[Service], settings: Settings, *, quiet: bool) -> None:
    def started() -> None:
        if not quiet:
            described = [service.describe(settings=settings) for service in services]
            print(summarize(described), flush=True)
        names = ", ".join(service.name for service in services)
        logging.getLogger("antiphon.run").info("running %s", names)

    try:
        asyncio.run(run_async(services, settings, started))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


app = app_of(run)
