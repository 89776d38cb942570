"""What does `antiphon` do: the table of its commands. Nothing else is imported until one of them runs."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated

import typer

from antiphon.cli.lazy import LazyCommand, LazyCommands


class Commands(LazyCommands):
    """Each command is a module of this room."""

    table = MappingProxyType(
        {
            "new": LazyCommand("antiphon.cli.new", "Make a small service that runs and passes its own tests."),
            "run": LazyCommand("antiphon.cli.run", "Run services until they are stopped."),
            "relay": LazyCommand(
                "antiphon.cli.relay",
                "Publish what applications stage in an outbox, until it is stopped.",
            ),
            "describe": LazyCommand(
                "antiphon.cli.describe", "Show what services do and guarantee, without starting them."
            ),
            "publish": LazyCommand("antiphon.cli.publish", "Publish one event, now or later."),
            "ask": LazyCommand("antiphon.cli.ask", "Ask the service that answers, and print its reply."),
            "tail": LazyCommand("antiphon.cli.tail", "Show the messages of a topic as they come."),
            "topics": LazyCommand("antiphon.cli.topics", "List the topics and what they hold."),
            "groups": LazyCommand(
                "antiphon.cli.groups", "List the consumer groups and their lag; move, pause or look into one."
            ),
            "move": LazyCommand("antiphon.cli.move", "Move services from a log to another broker."),
            "scheduled": LazyCommand("antiphon.cli.scheduled", "List what is to be published later, or cancel it."),
            "storage": LazyCommand("antiphon.cli.storage", "Show which tables are missing in a store, or make them."),
            "alerts": LazyCommand(
                "antiphon.cli.alerts", "Print the alerts of every service as a rules file for Prometheus."
            ),
            "dead-letters": LazyCommand(
                "antiphon.cli.dead_letters", "Look through the messages that were given up, mend and send them again."
            ),
        }
    )


app = typer.Typer(
    cls=Commands,
    name="antiphon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"antiphon {version('antiphon')}")
        raise typer.Exit


@app.callback()
def antiphon(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Event-driven microservices, with every guarantee stated, shown and proven.

    Modules, broker and store come from antiphon.toml when they are not given.
    """


def main() -> None:
    """The console script."""
    app()
