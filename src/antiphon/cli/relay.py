"""`antiphon relay`: publish what applications staged in their database, for those that run no service on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer

from antiphon.brokers.connect import connect
from antiphon.cli.failures import ExitCode
from antiphon.cli.options import BrokerOption, HealthOption, JsonLogsOption, VerboseOption
from antiphon.cli.output import print_text
from antiphon.cli.session import require_file
from antiphon.errors import SettingsError, UsageError
from antiphon.observability.logging import configure_logging
from antiphon.runtime.host import run_async
from antiphon.runtime.layouts import outbox_of
from antiphon.runtime.relaying import relay_service
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.stores import store_at

app = typer.Typer(add_completion=False)

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The database with the outbox: postgresql://..., or a SQLite file; from antiphon.toml when not given.",
    ),
]

LayoutOption = Annotated[
    str,
    typer.Option("--layout", metavar="NAME", help="Which outbox: own, debezium, or wal for the log of PostgreSQL."),
]
TableOption = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="The table of --layout debezium; outbox when not given.")
]
TopicsOption = Annotated[
    str | None,
    typer.Option(
        "--topics",
        metavar="PATTERN",
        help="How --layout debezium names topics, as in 'outbox.event.{aggregatetype}'; as the type when not given.",
    ),
]


@app.command()
def relay(
    store: StoreOption = None,
    broker: BrokerOption = None,
    layout: LayoutOption = "own",
    table: TableOption = None,
    topics: TopicsOption = None,
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
    _check(url, settings)
    service = relay_service(url, settings, outbox_of(layout, table, topics))

    def started() -> None:
        print_text(f"relaying from {service.store.url} to {service.broker.url}")

    try:
        asyncio.run(run_async([service], settings, started))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _check(url: str, settings: Settings) -> None:
    """Refuse a broker that would lose what was staged, and a file that nobody made."""
    broker = connect(settings.broker)
    if not broker.capabilities.durable:
        raise UsageError(
            f"the broker {broker.url} keeps nothing when this process ends, and what a relay published is staged no "
            "more, so it would be lost: name a broker that stays with --broker"
        )
    otherwise = "the application whose outbox it is makes it, or antiphon storage migrate --store URL"
    require_file(store_at(url, broker), otherwise)
