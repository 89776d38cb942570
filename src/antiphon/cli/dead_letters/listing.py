"""`antiphon dead-letters list`: which messages were given up, one by one or by failure?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer
from msgspec import structs

from antiphon.cli.dead_letters.options import Where, Which
from antiphon.cli.messages import letter_in_json, letter_lines, stored_in_json, stored_lines, time_of
from antiphon.cli.option_sets import app_of
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened_store, run_async
from antiphon.deadletters.choosing import whole_ids
from antiphon.deadletters.native import native_letters
from antiphon.runtime.settings import Settings
from antiphon.storage.dead_letters import DeadLetter, Failure, StoredLetter, count_fitting, failures, find
from antiphon.storage.letter_query import LetterQuery

_LONGEST = 120


class Page(NamedTuple):
    """Some dead letters of the store and of the broker's own queues, and how many of the store's fit in all."""

    letters: Sequence[StoredLetter]
    native: Sequence[DeadLetter]
    total: int
    next: int | None
    """What to begin after for the next page, if there is more."""


def list_letters(
    which: Which,
    where: Where,
    by_failure: Annotated[bool, typer.Option("--by-failure", help="Count those that failed alike.")] = False,
    only_ids: Annotated[bool, typer.Option("--ids", help="Print only their ids, one a line.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most, the oldest first.")] = 100,
    after: Annotated[
        int, typer.Option("--after", metavar="NUMBER", min=0, help="Go on after this one, for the next page.")
    ] = 0,
) -> None:
    """List dead letters with the reason, the oldest first, or how many failed alike."""
    settings, query = where.settings(which.group), which.query()
    if by_failure:
        _show_failures(run_async(_failures(settings, query)), as_json=where.as_json)
        return
    page = run_async(_page(settings, query, limit, after))
    if only_ids:
        print("\n".join([*(each.id for each in page.letters), *(each.id for each in page.native)]))
    else:
        _show_page(page, as_json=where.as_json)


async def _failures(settings: Settings, query: LetterQuery) -> list[Failure]:
    async with opened_store(settings) as (_, store):
        return await failures(store, structs.replace(query, ids=await whole_ids(store, query.ids)))


async def _page(settings: Settings, query: LetterQuery, limit: int, after: int) -> Page:
    async with opened_store(settings) as (broker, store):
        native = await native_letters(broker, query, limit)
        if not native:  # what an id means there is found by its beginning
            query = structs.replace(query, ids=await whole_ids(store, query.ids))
        found = await find(store, query, limit + 1, after)
        letters, more = found[:limit], found[limit:]
        total = await count_fitting(store, query)
        return Page(letters, native, total, letters[-1].number if more else None)


def _show_failures(found: Sequence[Failure], *, as_json: bool) -> None:
    if as_json:
        print_json({"failures": found})
    elif found:
        print_text("\n".join(line for failure in found for line in _failure_lines(failure)))
    else:
        print("no dead letters")


def _failure_lines(failure: Failure) -> Sequence[str]:
    """How many failed alike, of whom, with what and when, and one of them to look at."""
    error = " ".join(failure.error.split())
    return (
        f"{failure.count} x {failure.group}/{failure.handler}  fingerprint {failure.fingerprint}",
        f"    {error if len(error) <= _LONGEST else f'{error[: _LONGEST - 3]}...'}",
        f"    from {time_of(failure.first)} to {time_of(failure.last)}, as {failure.example}",
    )


def _show_page(page: Page, *, as_json: bool) -> None:
    if as_json:
        native = [letter_in_json(letter) | {"native": True} for letter in page.native]
        letters = [stored_in_json(letter) for letter in page.letters]
        print_json({"total": page.total + len(native), "dead_letters": [*letters, *native], "next": page.next})
        return
    if not page.letters and not page.native:
        print("no dead letters")
        return
    for stored in page.letters:
        print_text("\n".join(stored_lines(stored)))
    for letter in page.native:
        print_text("\n".join(letter_lines(letter, "in the broker's own queue")))
    if page.next is not None:
        print(f"{page.total} in all; the next ones come with --after {page.next}")


app = app_of(list_letters)
