"""`antiphon dead-letters drop`: give some up for good, and `dropped`: which were?"""

from __future__ import annotations

from typing import Annotated

import typer

from antiphon.cli.dead_letters.asking import AllOption, chosen_letters, confirm, in_words
from antiphon.cli.dead_letters.options import ByOption, Where, Which, YesOption
from antiphon.cli.dead_letters.work import author
from antiphon.cli.messages import data_in_json, letter_in_json, letter_lines, time_of
from antiphon.cli.option_sets import app_of
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened_store, run_async
from antiphon.deadletters.choosing import Chosen
from antiphon.deadletters.dropping import drop as drop_letters
from antiphon.errors import DeadLetterError
from antiphon.runtime.settings import Settings
from antiphon.storage.letter_changes import Author, LetterChange, list_dropped


def drop(
    which: Which,
    where: Where,
    everything: AllOption = False,
    yes: YesOption = False,
    by: ByOption = None,
) -> None:
    """Give dead letters up for good; what waits behind them goes on.

    The messages are kept: `dropped` lists them.
    """
    settings = where.settings(which.group)
    chosen = run_async(chosen_letters(settings, which.query(), everything=everything))
    if not chosen.letters:
        _tell(chosen, as_json=where.as_json)
        return
    confirm(f"Drop {in_words(chosen)}?", f"{in_words(chosen)} would be dropped", yes=yes)
    count = run_async(_drop(settings, chosen, author(by)))
    if count < len(chosen.letters):
        left = len(chosen.letters) - count
        raise DeadLetterError(f"dropped {count}; {left} were handled, dropped or redriven meanwhile: look what is left")
    _tell(chosen, as_json=where.as_json)


def _tell(chosen: Chosen, *, as_json: bool) -> None:
    if as_json:
        print_json({"dropped": [letter.id for letter in chosen.letters]})
    elif chosen.letters:
        print(f"dropped {in_words(chosen)}; antiphon dead-letters dropped shows them")
    else:
        print("no dead letter fits, so nothing was dropped")


async def _drop(settings: Settings, chosen: Chosen, who: Author) -> int:
    async with opened_store(settings) as (_, store):
        return await drop_letters(store, chosen.numbers, who)


def dropped(
    where: Where,
    group: Annotated[str | None, typer.Option("--group", "-g", help="Only those of this consumer group.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most, the newest first.")] = 100,
) -> None:
    """List the dead letters that were dropped, the newest first."""
    found = run_async(_dropped(where.settings(group), group, limit))
    if where.as_json:
        print_json([_in_json(each) for each in found])
        return
    if not found:
        print("nothing was dropped")
    for each in found:
        if each.dropped is not None:
            print_text("\n".join(letter_lines(each.dropped, f"dropped {time_of(each.time)} by {each.by}")))


def _in_json(change: LetterChange) -> dict[str, object]:
    edited = {} if change.after is None else {"edited": data_in_json(change.after)}
    letter = {} if change.dropped is None else letter_in_json(change.dropped)
    return {"dropped_at": change.time, "dropped_by": change.by, **letter, **edited}


async def _dropped(settings: Settings, group: str | None, limit: int) -> list[LetterChange]:
    async with opened_store(settings) as (_, store):
        return await list_dropped(store, group, limit)


drop_app, dropped_app = app_of(drop), app_of(dropped)
