"""`antiphon dead-letters`: which messages were given up, why, and what becomes of them?"""

from __future__ import annotations

from types import MappingProxyType

import typer

from antiphon.cli.lazy import LazyCommand, LazyCommands

_HERE = "antiphon.cli.dead_letters"


class DeadLetterCommands(LazyCommands):
    """Each is imported when it runs: some load the user's modules, and with them the whole runtime."""

    table = MappingProxyType(
        {
            "list": LazyCommand(
                f"{_HERE}.listing", "List dead letters with the reason, the oldest first, or how many failed alike."
            ),
            "show": LazyCommand(
                f"{_HERE}.showing",
                "Show all that is known of one dead letter: message, attempts, edits, what waits behind it.",
                "show_app",
            ),
            "diff": LazyCommand(
                f"{_HERE}.showing",
                "Show how the edited data of a dead letter differs from the data as it came.",
                "diff_app",
            ),
            "edit": LazyCommand(
                f"{_HERE}.editing", "Mend the data of a dead letter, for its handler to be given when it is retried."
            ),
            "dry-run": LazyCommand(
                f"{_HERE}.dry_running",
                "Call the present handler with a dead letter's message, edited or not, and show what it does.",
            ),
            "retry": LazyCommand(
                f"{_HERE}.retrying",
                "Send dead letters again, to be handled by the services of their groups. They keep their ids.",
                "retry_app",
            ),
            "redrives": LazyCommand(
                f"{_HERE}.retrying", "Show the redrives and how far they are, the newest first.", "redrives_app"
            ),
            "drop": LazyCommand(
                f"{_HERE}.dropping", "Give dead letters up for good; what waits behind them goes on.", "drop_app"
            ),
            "dropped": LazyCommand(
                f"{_HERE}.dropping", "List the dead letters that were dropped, the newest first.", "dropped_app"
            ),
        }
    )


app = typer.Typer(cls=DeadLetterCommands, add_completion=False, no_args_is_help=True)


@app.callback()
def dead_letters() -> None:
    """Look through the messages that were given up, mend and send them again."""
