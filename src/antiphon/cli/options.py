"""The options that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

BrokerOption = Annotated[
    str | None,
    typer.Option("--broker", "-b", metavar="URL", help="The broker; from antiphon.toml when not given."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The database of the services' tables; from antiphon.toml, or the broker's own, when not given.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
ModulesOption = Annotated[
    list[str] | None,
    typer.Option("--module", "-m", metavar="MODULE", help="Where to look; from antiphon.toml when not given."),
]
ModulesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODULE",
        help="payments, payments.service, payments.service:payments or payments/service.py; "
        "from antiphon.toml when not given.",
        show_default=False,
    ),
]
HealthOption = Annotated[
    int | None,
    typer.Option(
        "--health", metavar="PORT", help="Answer /live, /ready and /metrics there; each worker the next port."
    ),
]
JsonLogsOption = Annotated[
    bool | None,
    typer.Option(
        "--json/--no-json", help="Write logs as JSON lines; default: when not on a terminal.", show_default=False
    ),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]
