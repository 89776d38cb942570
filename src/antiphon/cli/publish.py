"""`antiphon publish`: one event from the command line, now or later, checked as if a service had made it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer

from antiphon.cli.event_types import event_types, find_event_type
from antiphon.cli.fields import build_event, read_fields
from antiphon.cli.modules import import_module, load_services, search_here
from antiphon.cli.options import BrokerOption, JsonOption, ModulesOption
from antiphon.cli.output import print_json
from antiphon.cli.session import opened, run_async, settings_for
from antiphon.cli.times import read_duration, read_when
from antiphon.errors import UsageError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.scheduling import keep_at
from antiphon.runtime.settings import Settings
from antiphon.runtime.timing import Timing, read_timing
from antiphon.runtime.topics import make_topics

app = typer.Typer(add_completion=False)

_SOURCE = "antiphon-cli"


@app.command()
def publish(
    event_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="Name of the event, or module:Class.", show_default=False)
    ],
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE",
            help="order_id=7, address.city=Berlin, or as JSON: items:='[1, 2]'.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Instead of the event's own key.")] = None,
    when: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            "--delay",
            metavar="TIME|DURATION",
            help="Schedule it for a time as in 2026-01-31T12:00Z, or for so long from now as in 1h30m.",
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", metavar="DURATION", help="How long it is worth handling, once it is published."),
    ] = None,
    modules: ModulesOption = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish one event, now or later.

    Its fields are converted to their declared types and checked, before anything is sent. What is scheduled is
    published by whichever service runs on this broker then.
    """
    settings = settings_for(broker)
    timing = _timing(when or (), deadline)
    _load(event_type, modules, settings)
    cls = find_event_type(event_type, event_types())
    event = build_event(cls, read_fields(fields or ()))
    outgoing = Composer(_SOURCE, SystemClock()).first(event, key=key, deadline=timing.deadline)
    run_async(_publish(settings, outgoing, timing.at))
    _tell(outgoing, timing, as_json)


def _timing(when: Sequence[str], deadline: str | None) -> Timing:
    if len(when) > 1:
        raise UsageError(f"--at, --delay: {' and '.join(when)} both say when; give one of them")
    moments = [read_when("--at, --delay", each) for each in when]
    at = next((each for each in moments if isinstance(each, datetime)), None)
    delay = next((each for each in moments if isinstance(each, timedelta)), None)
    patience = None if deadline is None else read_duration("--deadline", deadline)
    return read_timing(SystemClock().now(), at, delay, patience)


def _load(event_type: str, modules: list[str] | None, settings: Settings) -> None:
    """Import what declares the event; a module that TYPE names itself needs no service."""
    module, colon, _ = event_type.partition(":")
    if colon and not modules and not settings.modules:
        search_here(settings)
        import_module(module)
    else:
        load_services(modules, settings)


async def _publish(settings: Settings, outgoing: Outgoing, at: datetime | None) -> None:
    async with opened(settings, existing=False) as broker:
        await make_topics(broker, [outgoing.topic], settings)
        if at is None:
            await broker.publish([outgoing])
        else:
            await keep_at(broker, [outgoing], at)
        if not broker.capabilities.durable:
            print(f"note: {broker.url} forgets it when this process ends", file=sys.stderr)


def _tell(outgoing: Outgoing, timing: Timing, as_json: bool) -> None:
    topic, message = outgoing
    if as_json:
        times = {name: moment for name, moment in timing._asdict().items() if moment is not None}
        print_json({"id": message.id, "type": message.type, "topic": topic, "key": message.key, **times})
        return
    key = f" with key {message.key}" if message.key is not None else ""
    word = "published" if timing.at is None else "scheduled"
    then = "" if timing.at is None else f" at {timing.at.isoformat(timespec='seconds')}"
    print(f"{word} {message.type} {message.id} to {topic}{key}{then}")
