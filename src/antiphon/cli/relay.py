"""`antiphon relay`: publish what applications staged in their database, for those that run no service on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer

from antiphon.cli.failures import ExitCode
from antiphon.cli.options import BrokerOption, HealthOption, JsonLogsOption, VerboseOption
from antiphon.cli.output import print_text
from antiphon.errors import SettingsError
from antiphon.observability.logging import configure_logging
from antiphon.runtime.host import run_async
from antiphon.runtime.relaying import relay_service
from antiphon.runtime.settings import load_settings

app = typer.Typer(add_completion=False)

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The database with the outbox: postgresql://..., or a SQLite file; from antiphon.toml when not given.",
    ),
]


@app.command()
def relay(
    store: StoreOption = None,
    broker: BrokerOption = None,
    health: HealthOption = None,
    as_json: JsonLogsOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Publish what applications stage in an outbox, until it is stopped.

    It makes the tables that are missing. Run as many as you like: they share the work without a leader. The first
    Ctrl-C (or SIGTERM) drains: what is there is published. The second ends it.
    """
    configure_logging(logging.DEBUG if verbose else logging.INFO, json=as_json)
    settings = load_settings({"broker": broker, "health": health})
    url = store or settings.common.store
    if url is None:
        raise SettingsError("relay: say where the outbox is: --store postgresql://..., or --store with a SQLite file")
    service = relay_service(url, settings)

    def started() -> None:
        print_text(f"relaying from {service.store.url} to {service.broker.url}")

    try:
        asyncio.run(run_async([service], settings, started))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
