"""`antiphon move`: how do services get from a log to another broker, with what they have not read?"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.cli.option_sets import OptionSet, app_of
from antiphon.cli.options import JsonOption
from antiphon.cli.output import print_json, print_table
from antiphon.cli.session import file_of, is_unmade, opened, run_async, settings_for
from antiphon.cli.times import read_duration
from antiphon.errors import StoreError, UsageError
from antiphon.events.clock import SystemClock
from antiphon.moving.move import Moving, TopicMoved
from antiphon.moving.progress import ProgressFile
from antiphon.moving.survey import Choice
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.runtime.sending import Sending
from antiphon.runtime.settings import Settings
from antiphon.runtime.stores import store_at
from antiphon.storage.database import Database
from antiphon.storage.migrations import own_migrations
from antiphon.storage.outbox import outbox_backlog

PROGRESS = "antiphon-move.json"


@dataclass
class Ways(OptionSet):
    """From where to where."""

    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="The log that the services are on.", show_default=False)
    ]
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="The broker that they are to be on.", show_default=False)
    ]
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="A database of the services' tables; may be given again. "
            "From antiphon.toml, and the log's own, when not given.",
            show_default=False,
        ),
    ] = None
    progress: Annotated[
        Path | None,
        typer.Option(
            "--progress",
            metavar="FILE",
            help=f"Where it is kept how far the move has come; {PROGRESS} beside antiphon.toml when not given.",
            show_default=False,
        ),
    ] = None


@dataclass
class What(OptionSet):
    """What is moved."""

    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", "-t", help="Only this topic; may be given again.", show_default=False),
    ] = None
    everything: Annotated[
        bool, typer.Option("--all", help="Carry what every group has read, too: all that the log holds.")
    ] = False
    watch: Annotated[
        str, typer.Option("--watch", metavar="DURATION", help="Look for so long whether anybody still publishes.")
    ] = "2s"


def move(
    ways: Ways,
    what: What,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move services from a log to another broker.

    What their groups have not read goes with them, and they stand there where they stood here. Stop the services and
    whoever publishes first. It may be interrupted: run again, it goes on where it was.
    """
    choice = Choice(topics=what.topic or (), everything=what.everything, watch=read_duration("--watch", what.watch))
    found = run_async(_move(ways, choice, dry_run=dry_run))
    if as_json:
        print_json([_in_json(topic) for topic in found])
        return
    if found:
        columns = ("TOPIC", "PARTITIONS", "CARRIED", "GROUP", "UNREAD")
        print_table(columns, _rows(found), right=("PARTITIONS", "CARRIED", "UNREAD"))
    print("nothing was moved" if dry_run else "done: start the services with the other broker")


async def _move(ways: Ways, choice: Choice, *, dry_run: bool) -> Sequence[TopicMoved]:
    old, new = settings_for(ways.source), settings_for(ways.target)
    async with AsyncExitStack() as steps:
        source = await steps.enter_async_context(opened(old))
        is_new = dry_run and await is_unmade(new)
        target = connect(new.broker) if is_new else await steps.enter_async_context(opened(new, existing=dry_run))
        stores = await steps.enter_async_context(_opened_stores(old, ways.store or (), source, target))
        file = ProgressFile((ways.progress or old.folder / PROGRESS).absolute())
        moving = Moving(source, target, stores, file, choice)
        moving.say = _say
        if dry_run:
            return await moving.plan(is_new=is_new)
        for store in stores:
            await _publish_staged(source, store)
        return await moving.run()


async def _publish_staged(source: Broker, store: Database) -> None:
    """Publish what rests in the outbox: on a broker in the store itself nobody would look there. Raises StoreError."""
    waiting, _ = await outbox_backlog(store, datetime.now(UTC))
    if not waiting:
        return
    metrics = Metrics(service="move")
    sending = Sending("move", source, metrics, Hooks(metrics))
    relay = Relay(source.publish, store, SystemClock(), metrics, sending)
    await relay.start()
    await relay.drain()
    if not await relay.is_at_rest():
        raise StoreError(
            f"not everything leaves the outbox of {store.url} for {source.url}: see what antiphon relay says of it, "
            "then run this again"
        )
    _say(f"published {waiting} messages from the outbox of {store.url}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@asynccontextmanager
async def _opened_stores(
    settings: Settings, named: Sequence[str], source: Broker, target: Broker
) -> AsyncGenerator[Sequence[Database]]:
    """The databases in which the services may keep something, open."""
    found: dict[str, Database] = {}
    for url in named or _configured(settings):
        store = _known(url, source, target)
        found[store.url] = store
    if not named and isinstance(source, StoreBroker):
        found.setdefault(source.database.url, source.database)
    async with AsyncExitStack() as steps:
        opened_here: list[Database] = []
        for store in found.values():
            if any(isinstance(each, StoreBroker) and each.database is store for each in (source, target)):
                opened_here.append(store)
            elif await _is_ours(store, is_named=bool(named)):
                await store.open()
                steps.push_async_callback(store.close)
                opened_here.append(store)
        yield opened_here


def _configured(settings: Settings) -> Iterable[str]:
    every = [settings.common, *(settings.of_service(name) for name in settings.overrides)]
    return dict.fromkeys(each.store for each in every if each.store is not None)


def _known(url: str, source: Broker, target: Broker) -> Database:
    """The database that a URL means: a broker's own where it is that."""
    store = store_at(url, source)
    return store_at(url, target) if isinstance(target, StoreBroker) and store.url == target.database.url else store


async def _is_ours(store: Database, *, is_named: bool) -> bool:
    """Whether anything of ours is in it, and all of it. Raises UsageError for a store of an older version."""
    file = file_of(store)
    if file is not None and not file.exists():
        if is_named:
            raise UsageError(f"there is no store at {file}")
        return False
    missing = await store.missing("antiphon", own_migrations())
    if missing and len(missing) < len(own_migrations()):
        raise UsageError(f"{store.url} is older than this command: antiphon storage migrate brings it up to date")
    return not missing


def _rows(found: Sequence[TopicMoved]) -> Iterable[tuple[object, ...]]:
    for topic in found:
        place: tuple[object, ...] = (topic.topic, topic.partitions, topic.messages)
        for group, unread in topic.groups.items() or [("none", 0)]:
            yield (*place, group, unread)
            place = ("", "", "")


def _in_json(topic: TopicMoved) -> dict[str, object]:
    return {
        "topic": topic.topic,
        "partitions": topic.partitions,
        "messages": topic.messages,
        "unread": dict(topic.groups),
    }


app = app_of(move)
