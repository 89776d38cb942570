"""Which dead letters were chosen, and does whoever chose them mean it?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from antiphon.cli.output import confirmed, is_interactive
from antiphon.cli.session import opened_store
from antiphon.deadletters.choosing import Chosen, choose
from antiphon.deadletters.native import adopt
from antiphon.errors import UsageError
from antiphon.runtime.settings import Settings
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import failures
from antiphon.storage.letter_query import LetterQuery

AllOption = Annotated[bool, typer.Option("--all", help="All dead letters there are.")]


async def chosen_letters(
    settings: Settings, query: LetterQuery, *, everything: bool = False, limit: int | None = None
) -> Chosen:
    """The dead letters that fit, those in the broker's own queues moved to the others.

    Raises UsageError when nothing says which, and DeadLetterError as `choose` does.
    """
    if query.is_open and not everything:
        raise UsageError("say which dead letters: their ids, --group, --fingerprint, ... or --all of them")
    async with opened_store(settings) as (broker, store):
        await adopt(broker, store, query)
        chosen = await choose(store, query, limit)
        if not chosen.letters and query.group is not None:
            await _note_unknown(store, query.group)
        return chosen


async def _note_unknown(store: Database, group: str) -> None:
    """Say of which groups there are dead letters, when there are none of this one: it may be mistyped."""
    known = sorted({each.group for each in await failures(store)})
    if known and group not in known:
        print(f"note: group {group!r} has no dead letters; there are some of {', '.join(known)}", file=sys.stderr)


def in_words(chosen: Chosen) -> str:
    """How many of which groups and handlers."""
    count = len(chosen.letters)
    counts = [f"{place} ({times})" for place, times in chosen.counts()]
    places = ", ".join(counts[:5]) + (", ..." if len(counts) > 5 else "")
    return f"{count} dead {'letter' if count == 1 else 'letters'} of {places}"


def confirm(question: str, outcome: str, *, yes: bool) -> None:
    """Return when it is wanted. Ends the command when a person says no; raises UsageError when nobody can be asked."""
    if yes:
        return
    if not is_interactive():
        raise UsageError(
            f"{outcome}; without a terminal nobody can be asked, so nothing was changed: confirm with --yes"
        )
    if not confirmed(question):
        print("nothing was changed")
        raise typer.Exit
