"""`antiphon relay`: publish what applications staged in their database, for those that run no service on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer

from antiphon.cli.failures import ExitCode
from antiphon.cli.option_sets import app_of
from antiphon.cli.options import BrokerOption, HealthOption, Logs
from antiphon.cli.output import print_text
from antiphon.errors import SettingsError
from antiphon.observability.logging import configure_logging
from antiphon.runtime.host import run_async
from antiphon.runtime.relaying import relay_service
from antiphon.runtime.settings import load_settings

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The database with the outbox; from antiphon.toml when not given.",
    ),
]


def relay(
    logs: Logs,
    store: StoreOption = None,
    broker: BrokerOption = None,
    health: HealthOption = None,
) -> None:
    """Publish what applications stage in the outbox of a database, until it is stopped.

    It makes the tables that are missing. Run as many as you like: they share the work without a leader. The first
    Ctrl-C (or SIGTERM) drains: what is there is published. The second ends it.
    """
    configure_logging(logging.DEBUG if logs.verbose else logging.INFO, json=logs.as_json)
    settings = load_settings({"broker": broker, "store": store, "health": health})
    url = settings.common.store
    if url is None:
        raise SettingsError("relay: say where the outbox is: --store postgresql://..., or --store sqlite:///app.db")
    service = relay_service(url, settings)

    def started() -> None:
        print_text(f"relaying from {service.store.url} to {service.broker.url}")

    try:
        asyncio.run(run_async([service], settings, started))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


app = app_of(relay)
