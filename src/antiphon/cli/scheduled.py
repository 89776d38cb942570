"""`antiphon scheduled`: what is to be published later, and how is it taken back?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from antiphon.brokers.ports import Delivery, Partition
from antiphon.cli.messages import message_in_json, time_of
from antiphon.cli.options import BrokerOption, JsonOption, StoreOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened_store, run_async, settings_for_store
from antiphon.errors import UsageError
from antiphon.runtime.settings import Settings
from antiphon.storage.database import Transaction
from antiphon.storage.schedule import Scheduled, cancel, count_scheduled, find_scheduled, list_scheduled

_SHORTEST = 8
"""Characters of an id that are enough, where no other one begins so."""
_BEGINNING = "select id from antiphon_scheduled where substr(id, 1, cast(? as integer)) = ? order by id limit 2"

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def scheduled() -> None:
    """List what is to be published later, or cancel it."""


@app.command("list")
def list_waiting(
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Only those for this topic.")] = None,
    service: Annotated[str | None, typer.Option("--service", "-s", help="Only those that it scheduled.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most, the next first.")] = 100,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List scheduled messages, the next first, with those that the broker refused and why."""
    found, total = run_async(_list(settings_for_store(broker, store), topic, service, limit))
    if as_json:
        print_json({"total": total, "scheduled": [_in_json(each) for each in found]})
        return
    if not found:
        print("nothing is scheduled")
        return
    for each in found:
        print_text("\n".join(_lines(each)))
    if total > len(found):
        print(f"{total - len(found)} more; show them with --limit {total}")


async def _list(
    settings: Settings, topic: str | None, service: str | None, limit: int
) -> tuple[Sequence[Scheduled], int]:
    async with opened_store(settings) as (_, store):
        return await list_scheduled(store, topic, service, limit), await count_scheduled(store, topic, service)


def _lines(each: Scheduled) -> list[str]:
    """For people: when, who, what and where to; why it never will be, or that it is just being published; the id."""
    key = f" {each.key}" if each.key is not None else ""
    state = f"refused: {' '.join(each.failure.split())}" if each.failure is not None else ""
    if each.is_publishing and not state:
        state = "being published"
    return [
        f"{time_of(each.at)}  {each.service}  {each.type}{key} to {each.topic}",
        *([f"    {state}"] if state else []),
        f"    message {each.id}",
    ]


def _in_json(each: Scheduled) -> dict[str, object]:
    state = "failed" if each.failure is not None else "publishing" if each.is_publishing else "waiting"
    place = {"id": each.id, "at": each.at, "service": each.service, "topic": each.topic, "type": each.type}
    return {**place, "key": each.key, "state": state, "failure": each.failure, "message": _message(each)}


def _message(each: Scheduled) -> dict[str, object]:
    in_no_place = message_in_json(Delivery(Partition(each.topic, 0), "", each.message))
    return {name: value for name, value in in_no_place.items() if name not in {"topic", "partition", "position"}}


@app.command("cancel")
def cancel_some(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As listed, or their beginnings; all or none.")],
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take scheduled messages back, so that they are never published.

    When one of them cannot be, because it is unknown, published already or being published, none is.
    """
    each_once = list(dict.fromkeys(ids))
    canceled = run_async(_cancel(settings_for_store(broker, store), each_once))
    if as_json:
        print_json({"canceled": canceled})
    else:
        for id in canceled:
            print(f"canceled {id}")


async def _cancel(settings: Settings, written: Sequence[str]) -> list[str]:
    async with opened_store(settings) as (_, store), store.transaction() as tx:
        ids = list(dict.fromkeys([await _whole_id(tx, each) for each in written]))
        canceled = await cancel(tx, ids)
        for id in ids:
            if id not in canceled:
                raise UsageError(await _why_not(tx, id))
        return ids


async def _whole_id(tx: Transaction, written: str) -> str:
    """The id that this is, or that it begins, where just one begins so. Raises UsageError where several do."""
    if len(written) < _SHORTEST or await find_scheduled(tx, written) is not None:
        return written
    found = await tx.fetch(_BEGINNING, len(written), written, row=str)
    if len(found) > 1:
        raise UsageError(
            f"{written!r} begins several scheduled messages, as {found[0]} and {found[1]}: give more of it; nothing "
            "was canceled"
        )
    return found[0] if found else written


async def _why_not(tx: Transaction, id: str) -> str:
    """Why a message could not be canceled; raised, it undoes what was canceled beside it."""
    if await find_scheduled(tx, id) is None:
        return f"no message {id} is scheduled: it was published, canceled, or never scheduled; nothing was canceled"
    return f"message {id} is being published just now, or nobody can say that it was not; nothing was canceled"
