"""`antiphon publish`: one event from the command line, now or later, checked as if a service had made it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import typer

from antiphon.brokers.ports import Broker
from antiphon.cli.event_types import event_types, find_event_type
from antiphon.cli.fields import build_event, read_fields
from antiphon.cli.modules import import_module, load_services, search_here
from antiphon.cli.option_sets import OptionSet, app_of
from antiphon.cli.options import BrokerOption, JsonOption, ModulesOption, StoreOption
from antiphon.cli.output import print_json
from antiphon.cli.session import opened, opened_with_store, run_async, settings_for, settings_for_store
from antiphon.cli.times import read_duration, read_moment
from antiphon.errors import UsageError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.scheduling import keep_at
from antiphon.runtime.settings import Settings
from antiphon.runtime.stores import is_own_store
from antiphon.runtime.timing import Timing, read_timing
from antiphon.runtime.topics import make_topics

_SOURCE = "antiphon-cli"


@dataclass(frozen=True, kw_only=True)
class Times(OptionSet):
    """When an event is published, and for how long it is worth handling then."""

    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Schedule it for a time as in 2026-01-31T12:00Z.")
    ] = None
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Schedule it for so long from now as in 1h30m.")
    ] = None
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", metavar="DURATION", help="How long it is worth handling, once it is published."),
    ] = None

    @property
    def are_given(self) -> bool:
        """Whether anything was said about when it is published."""
        return self.at is not None or self.delay is not None

    def moment(self, now: datetime) -> datetime | None:
        """The moment that it is asked to be published at; None for now. Raises UsageError."""
        if self.at is not None and self.delay is not None:
            raise UsageError(f"--at {self.at} and --delay {self.delay} both say when; give one of them")
        at = None if self.at is None else read_moment("--at", self.at)
        return read_timing(now, at=at, delay=_duration("--delay", self.delay)).at

    def timing(self, now: datetime) -> Timing:
        """As `read_timing`, but what is due already is published now. Raises UsageError."""
        moment = self.moment(now)
        at = None if moment is None or moment <= now else moment
        return read_timing(now, at=at, deadline=_duration("--deadline", self.deadline))


def _duration(option: str, text: str | None) -> timedelta | None:
    return None if text is None else read_duration(option, text)


def publish(
    times: Times,
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
    modules: ModulesOption = None,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish one event, now or later.

    Its fields are converted to their declared types and checked, before anything is sent. What is scheduled is
    published by whichever service runs on this broker and this store then.
    """
    if store is not None and not times.are_given:
        raise UsageError(f"--store {store} is where it waits for its time: say when with --at or --delay")
    settings = settings_for(broker, store)
    timing = times.timing(SystemClock().now())
    load_declaring(event_type, modules, settings)
    cls = find_event_type(event_type, event_types())
    event = build_event(cls, read_fields(fields or ()))
    outgoing = Composer(_SOURCE, SystemClock()).first(event, key=key, deadline=timing.deadline)
    if timing.at is None:
        run_async(_publish(settings, outgoing))
    else:
        run_async(_schedule(settings_for_store(broker, store), outgoing, timing.at))
    _tell(outgoing, timing, as_json=as_json, was_timed=times.are_given)


def load_declaring(event_type: str, modules: list[str] | None, settings: Settings) -> None:
    """Import what declares the event; a module that TYPE names itself needs no service."""
    module, colon, _ = event_type.partition(":")
    if colon and not modules and not settings.modules:
        search_here(settings)
        import_module(module)
    else:
        load_services(modules, settings)


async def _publish(settings: Settings, outgoing: Outgoing) -> None:
    async with opened(settings, existing=False) as broker:
        await make_topics(broker, [outgoing.topic], settings)
        await broker.publish([outgoing])
        _note_what_is_forgotten(broker)


async def _schedule(settings: Settings, outgoing: Outgoing, at: datetime) -> None:
    async with opened_with_store(settings, existing=False) as (broker, store):
        await make_topics(broker, [outgoing.topic], settings)
        await keep_at(store, [outgoing], at)
        if is_own_store(broker, store):
            _note_what_is_forgotten(broker)


def _note_what_is_forgotten(broker: Broker) -> None:
    if not broker.capabilities.durable:
        print(f"note: {broker.url} forgets it when this process ends", file=sys.stderr)


def _tell(outgoing: Outgoing, timing: Timing, *, as_json: bool, was_timed: bool) -> None:
    topic, message = outgoing
    if as_json:
        moments = {name: moment for name, moment in timing._asdict().items() if moment is not None}
        print_json({"id": message.id, "type": message.type, "topic": topic, "key": message.key, **moments})
        return
    key = f" with key {message.key}" if message.key is not None else ""
    word = "published" if timing.at is None else "scheduled"
    print(f"{word} {message.type} {message.id} to {topic}{key}{_when(timing.at, was_timed=was_timed)}")


def _when(at: datetime | None, *, was_timed: bool) -> str:
    if at is not None:
        return f" at {at.isoformat(timespec='seconds')}"
    return " at once: it is due already" if was_timed else ""


app = app_of(publish)
