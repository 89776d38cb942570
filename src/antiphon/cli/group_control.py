"""`antiphon groups pause`, `resume`, `inspect`: stop a group while it runs, and see what its processes are at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from getpass import getuser
from typing import Annotated, NamedTuple, cast

import typer

from antiphon.brokers.ports import Broker
from antiphon.cli.messages import time_of
from antiphon.cli.options import BrokerOption, JsonOption, StoreOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened_with_store, run_async, settings_for_store
from antiphon.errors import UsageError
from antiphon.events.amounts import show_duration
from antiphon.runtime.settings import Settings
from antiphon.storage.database import Database
from antiphon.storage.runs import Run, list_runs
from antiphon.storage.set_aside import AsideState, counts
from antiphon.storage.topic_pauses import TopicPause, list_topic_pauses, pause_topics, resume_topics

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The consumer group.", show_default=False)]
TopicsOption = Annotated[
    list[str] | None, typer.Option("--topic", "-t", help="Only this topic; may be given again.", show_default=False)
]
HandlersOption = Annotated[
    list[str] | None,
    typer.Option("--handler", help="The topics that this handler reads; may be given again.", show_default=False),
]


def pause(
    context: typer.Context,
    group: GroupArgument,
    topic: TopicsOption = None,
    handler: HandlersOption = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; shown by inspect.", show_default="paused by an operator")
    ] = None,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a group, or some of its topics, in all of its processes.

    They keep their partitions and their place; what is in hand ends. It holds across restarts, until it is resumed.
    """
    wanted = _Wanted(group, topic or (), handler or ())
    changed = run_async(_pause(settings_for_store(broker or context.obj, store, group), wanted, reason))
    if as_json:
        print_json({"group": group, "topics": sorted((*changed.topics, *changed.others)), "already": changed.others})
        return
    if changed.topics:
        print(f"group {group} is paused on {_topics_in_words(changed.topics)}")
    if changed.others:
        now = "nothing changed there" if reason is None else f"the reason is now {reason!r}"
        print(f"group {group} was paused already on {_topics_in_words(changed.others)}; {now}")


def resume(
    context: typer.Context,
    group: GroupArgument,
    topic: TopicsOption = None,
    handler: HandlersOption = None,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a paused group, or some of its topics, go on."""
    wanted = _Wanted(group, topic or (), handler or ())
    changed = run_async(_resume(settings_for_store(broker or context.obj, store, group), wanted))
    if as_json:
        print_json({"group": group, "topics": changed.topics})
        return
    if changed.topics:
        print(f"group {group} goes on with {_topics_in_words(changed.topics)}")
    if changed.others and (wanted.is_narrow or not changed.topics):
        print(f"group {group} was not paused on {_topics_in_words(changed.others)}, so nothing changed there")


def _topics_in_words(topics: Sequence[str]) -> str:
    return f"topic{'s' * (len(topics) != 1)} {', '.join(topics)}"


def inspect(
    context: typer.Context,
    group: GroupArgument,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the processes of a group are at: topics, breakers, what is in hand, set aside and paused."""
    found = run_async(_inspect(settings_for_store(broker or context.obj, store, group), group))
    if as_json:
        print_json(_in_json(group, found))
    else:
        print_text("\n".join(_lines(group, found)))


class _Wanted(NamedTuple):
    """Which topics of a group are meant: all, where neither topics nor handlers are named."""

    group: str
    topics: Sequence[str]
    handlers: Sequence[str]

    @property
    def is_narrow(self) -> bool:
        """Whether some are named."""
        return bool(self.topics or self.handlers)


class _Changed(NamedTuple):
    """Topics that were paused or resumed, and others that were meant and were so already."""

    topics: Sequence[str]
    others: Sequence[str]


class _Found(NamedTuple):
    runs: Sequence[Run]
    pauses: Sequence[TopicPause]
    aside: Mapping[AsideState, int]
    now: datetime


async def _pause(settings: Settings, wanted: _Wanted, reason: str | None) -> _Changed:
    """What is paused already keeps its reason and who gave it, where none is given now."""
    async with opened_with_store(settings) as (broker, store):
        topics = await _topics(broker, store, wanted)
        by, now = getuser(), datetime.now(UTC)
        async with store.transaction() as tx:
            before = {each.topic for each in await list_topic_pauses(tx, wanted.group)}
            told = topics if reason is not None else [topic for topic in topics if topic not in before]
            why = reason or "paused by an operator"
            await pause_topics(tx, [TopicPause(wanted.group, topic, why, by, now) for topic in told])
    return _Changed([topic for topic in topics if topic not in before], sorted(before.intersection(topics)))


async def _resume(settings: Settings, wanted: _Wanted) -> _Changed:
    async with opened_with_store(settings) as (broker, store):
        topics = await _topics(broker, store, wanted)
        async with store.transaction() as tx:
            resumed = await resume_topics(tx, wanted.group, topics)
    return _Changed(resumed, [topic for topic in topics if topic not in resumed])


async def _topics(broker: Broker, store: Database, wanted: _Wanted) -> list[str]:
    """The topics that are meant. Raises UsageError for a group, topic or handler that is not there."""
    group, topics, handlers = wanted
    known = await broker.groups()
    if group not in known:
        raise UsageError(f"there is no group {group!r}; there are {', '.join(sorted(known)) or 'none yet'}")
    read = sorted({lag.partition.topic for lag in await broker.lag(group)})
    for topic in topics:
        if topic not in read:
            raise UsageError(f"group {group!r} does not read {topic!r}; it reads {', '.join(read) or 'nothing'}")
    by_handler = _handlers(await list_runs(store, group))
    for handler in handlers:
        if handler not in by_handler:
            there = ", ".join(sorted(by_handler)) or "none: no process of it runs now, so name its topics with --topic"
            raise UsageError(f"group {group!r} runs no handler {handler!r}; it runs {there}")
    chosen = {*topics, *(topic for handler in handlers for topic in by_handler[handler])}
    return sorted(chosen) or read


def _handlers(runs: Iterable[Run]) -> dict[str, set[str]]:
    """The topics that each running handler reads."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for topic, told in _topics_of(run).items():
            for handler in cast("Sequence[str]", told["handlers"]):
                found.setdefault(handler, set()).add(topic)
    return found


def _topics_of(run: Run) -> Mapping[str, Mapping[str, object]]:
    return cast("Mapping[str, Mapping[str, object]]", run.status.get("topics", {}))


async def _inspect(settings: Settings, group: str) -> _Found:
    async with opened_with_store(settings) as (broker, store):
        known = await broker.groups()
        if group not in known:
            raise UsageError(f"there is no group {group!r}; there are {', '.join(sorted(known)) or 'none yet'}")
        runs, pauses = await list_runs(store, group), await list_topic_pauses(store, group)
        return _Found(runs, pauses, await counts(store, group), datetime.now(UTC))


def _lines(group: str, found: _Found) -> Iterable[str]:
    aside = ", ".join(f"{count} {state.name.lower()}" for state, count in found.aside.items())
    yield f"{group}  (set aside: {aside})"
    for pause in found.pauses:
        yield f"  paused   {pause.topic}: {pause.reason}, by {pause.paused_by} since {time_of(pause.since)}"
    if not found.runs:
        yield "  no process of it runs now"
    for run in found.runs:
        yield from _run_lines(run, found.now)


def _run_lines(run: Run, now: datetime) -> Iterable[str]:
    host = run.process.host.partition("/")[0]
    silent = run.process.is_dead(run.heard_of, now)
    ago = show_duration(timedelta(seconds=max(0, int((now - run.heard_of).total_seconds()))))
    state = "died without a word" if silent else str(run.status.get("state", "starting"))
    yield f"  process  {run.process.pid} on {host}: {state}, heard of {ago} ago"
    yield f"    in hand {run.status.get('in_hand', 0)}, of which held {run.status.get('held', 0)}"
    for topic, told in sorted(_topics_of(run).items()):
        why = f", {told['reason']}" if told.get("reason") else ""
        handlers = ", ".join(cast("Sequence[str]", told["handlers"]))
        yield f"    {topic}: {told['state']}{why}  ({handlers})"


def _in_json(group: str, found: _Found) -> dict[str, object]:
    return {
        "group": group,
        "set_aside": {state.name.lower(): count for state, count in found.aside.items()},
        "paused": [
            {"topic": each.topic, "reason": each.reason, "by": each.paused_by, "since": each.since}
            for each in found.pauses
        ],
        "processes": [
            {
                "service": run.service,
                "host": run.process.host.partition("/")[0],
                "pid": run.process.pid,
                "started_at": run.started_at,
                "heard_of": run.heard_of,
                "dead": run.process.is_dead(run.heard_of, found.now),
                **run.status,
            }
            for run in found.runs
        ],
    }
