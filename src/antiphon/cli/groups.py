"""`antiphon groups`: how far is each consumer group behind, and how is one moved, paused or looked into?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from antiphon.brokers.lags import lags_of
from antiphon.brokers.ports import Broker, Lag, Seek, SeekTo
from antiphon.brokers.reply_topics import PREFIX
from antiphon.cli.group_control import inspect, pause, resume
from antiphon.cli.options import BrokerOption, JsonOption, StoreOption
from antiphon.cli.output import confirmed, is_interactive, print_json, print_table, seconds
from antiphon.cli.session import Place, opened, opened_with_store, run_async, settings_for, settings_for_store
from antiphon.errors import UsageError
from antiphon.events.amounts import show_duration
from antiphon.outbox.due import is_on
from antiphon.runtime.settings import Settings
from antiphon.storage.inbox import Inbox

app = typer.Typer(add_completion=False, invoke_without_command=True)
app.command("pause")(pause)
app.command("resume")(resume)
app.command("inspect")(inspect)


@app.callback()
def groups(context: typer.Context, broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """List the consumer groups and their lag; move, pause or look into one."""
    if context.invoked_subcommand is not None:
        context.obj = broker
        return
    lags = run_async(_lags(settings_for(broker)))
    if as_json:
        print_json([_in_json(lag) for lag in lags])
    elif lags:
        columns = ("GROUP", "TOPIC", "PARTITIONS", "LAG", "BEHIND", "SKIPPED", "MEMBERS")
        print_table(columns, _rows(lags), right=columns[2:6])
    else:
        print("no groups yet")


async def _lags(settings: Settings) -> list[Lag]:
    async with opened(settings) as broker:
        # Those of askers commit nothing, and on Kafka outlive them.
        groups = [group for group in sorted(await broker.groups()) if not group.startswith(PREFIX)]
        return [lag for lags in (await lags_of(broker, groups)).values() for lag in lags]


def _rows(lags: Sequence[Lag]) -> list[tuple[object, ...]]:
    """One for each group and topic: how much is unread, and how old the oldest of it is."""
    by_place: dict[tuple[str, str], list[Lag]] = {}
    for lag in lags:
        by_place.setdefault((lag.group, lag.partition.topic), []).append(lag)
    return [_row(place, found) for place, found in by_place.items()]


def _row(place: tuple[str, str], lags: Sequence[Lag]) -> tuple[object, ...]:
    oldest = max(lag.age for lag in lags)
    members = sorted({lag.owner for lag in lags if lag.owner is not None})
    behind = show_duration(timedelta(seconds=int(oldest.total_seconds())))
    unread, skipped = sum(lag.messages for lag in lags), sum(lag.skipped for lag in lags)
    return (*place, len(lags), unread, behind, skipped, ", ".join(members) or "none")


def _in_json(lag: Lag) -> dict[str, object]:
    return {
        "group": lag.group,
        "topic": lag.partition.topic,
        "partition": lag.partition.number,
        "position": lag.position,
        "end": lag.end,
        "lag": lag.messages,
        "lag_seconds": seconds(lag.age),
        "owner": lag.owner,
        "skipped": lag.skipped,
    }


@app.command()
def seek(
    context: typer.Context,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The consumer group to move.", show_default=False)],
    topic: Annotated[str, typer.Option("--topic", "-t", help="The topic on which it is moved.", show_default=False)],
    to: Annotated[
        str, typer.Option("--to", metavar="start|end|TIME", help="TIME as in 2026-01-31T12:00Z.", show_default=False)
    ],
    rerun: Annotated[
        bool | None,
        typer.Option("--rerun/--unhandled-only", help="Handle all of it again, or only what was never handled."),
    ] = None,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a group, so that it goes on from there.

    Messages that a group has handled in a transaction are marked, and not handled again when they come again. Moving
    it back is therefore asked to say what is meant: --rerun forgets all its marks, on every topic, and handles
    everything again; --unhandled-only keeps them and takes only what was never handled. Handlers that ask for no
    Transaction leave no marks, and marks are kept for seven days: both handle everything again.
    """
    where = _moment(to)
    again = _decided(rerun, group, where)
    settings = settings_for_store(broker or context.obj, store, group)
    run_async(_seek(settings, group, topic, where, again))
    if as_json:
        print_json({"group": group, "topic": topic, "to": to, "rerun": again})
    else:
        marks = (
            "what it handled before is handled again"
            if again
            else "what it handled in a transaction before is left out"
        )
        print(f"{group} goes on from {to} of {topic}; {marks}")


def _moment(to: str) -> SeekTo | datetime:
    if to in set(SeekTo):
        return SeekTo(to)
    try:
        moment = datetime.fromisoformat(to)
    except ValueError:
        raise UsageError(f"--to {to}: say start, end, or a time as in 2026-01-31T12:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _decided(rerun: bool | None, group: str, where: Seek) -> bool:
    """Whether marks are forgotten. Raises UsageError when nobody said so and nobody can be asked."""
    if rerun is not None or where is SeekTo.END:
        return bool(rerun)
    if not is_interactive():
        raise UsageError(
            f"group {group!r} has marked what it handled, and would leave it out in silence: say --rerun to handle it "
            "again, or --unhandled-only to take only what was never handled"
        )
    return confirmed(f"Handle again what {group} has handled already (no: only what was never handled)?")


async def _seek(settings: Settings, group: str, topic: str, to: Seek, rerun: bool) -> None:
    if rerun:
        async with opened_with_store(settings) as place:
            await _check(place.broker, group, topic)
            await _rerun(place, group, topic, to)
        return
    async with opened(settings) as broker:
        await _check(broker, group, topic)
        await broker.seek(group, topic, to)


async def _check(broker: Broker, group: str, topic: str) -> None:
    """Raise UsageError unless the group reads the topic; nothing is changed for a mistyped name."""
    known = await broker.groups()
    if group not in known:
        raise UsageError(f"there is no group {group!r}; there are {', '.join(sorted(known)) or 'none yet'}")
    read = {lag.partition.topic for lag in await broker.lag(group)}
    if topic not in read:
        raise UsageError(f"group {group!r} does not read {topic!r}; it reads {', '.join(sorted(read)) or 'nothing'}")


async def _rerun(place: Place, group: str, topic: str, to: Seek) -> None:
    """Forget the marks and move: in one transaction where that can be, since a crash between leaves half of it."""
    broker, store = place
    if is_on(broker, store):
        async with store.transaction() as tx:
            await Inbox(group).begin_generation(tx)
            await broker.seek_in(tx, group, topic, to)
        return
    async with store.transaction() as tx:
        await Inbox(group).begin_generation(tx)
        await broker.seek(group, topic, to)  # where it fails, the marks stay, and whoever reads that says it again
    await broker.seek(group, topic, to)  # what was read before the commit was known by its old marks, and left out
