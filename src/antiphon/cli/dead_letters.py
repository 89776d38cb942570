"""`antiphon dead-letters`: which messages were given up, and why?"""

from __future__ import annotations

from typing import Annotated

import typer

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.cli.messages import letter_in_json, letter_lines
from antiphon.cli.options import BrokerOption, JsonOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened, run_async, settings_for
from antiphon.errors import UnsupportedCapabilityError
from antiphon.runtime.settings import Settings
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import DeadLetter, count, list_parked

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def dead_letters() -> None:
    """Show the messages that were given up."""


@app.command("list")
def list_letters(
    group: Annotated[str | None, typer.Option("--group", "-g", help="Only those of this consumer group.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most, the oldest first.")] = 100,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """List parked messages with the reason, the oldest first."""
    letters, total = run_async(_letters(settings_for(broker), group, limit))
    if as_json:
        print_json({"total": total, "dead_letters": [letter_in_json(letter) for letter in letters]})
        return
    if not letters:
        print("no dead letters")
        return
    for letter in letters:
        print_text("\n".join(letter_lines(letter)))
    if total > len(letters):
        print(f"{total - len(letters)} more; show them with --limit {total}")


async def _letters(settings: Settings, group: str | None, limit: int) -> tuple[list[DeadLetter], int]:
    async with opened(settings) as broker:
        store = _store(broker)
        return list(await list_parked(store, group, limit)), await count(store, group)


def _store(broker: Broker) -> Database:
    if not isinstance(broker, StoreBroker):
        raise UnsupportedCapabilityError(f"the broker {broker.url}", "database", "dead letters rest in one")
    return broker.database
