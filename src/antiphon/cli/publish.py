"""`antiphon publish`: one event from the command line, checked as if a service had made it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from antiphon.cli.event_types import event_types, find_event_type
from antiphon.cli.fields import build_event, read_fields
from antiphon.cli.modules import import_module, load_services, search_here
from antiphon.cli.options import BrokerOption, JsonOption, ModulesOption
from antiphon.cli.output import print_json
from antiphon.cli.session import opened, run_async, settings_for
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import Settings
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
    modules: ModulesOption = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish one event.

    Its fields are converted to their declared types and checked, before anything is sent.
    """
    settings = settings_for(broker)
    _load(event_type, modules, settings)
    cls = find_event_type(event_type, event_types())
    event = build_event(cls, read_fields(fields or ()))
    outgoing = Composer(_SOURCE, SystemClock()).first(event, key=key)
    run_async(_publish(settings, outgoing))
    _tell(outgoing, as_json)


def _load(event_type: str, modules: list[str] | None, settings: Settings) -> None:
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
        if not broker.capabilities.durable:
            print(f"note: {broker.url} forgets it when this process ends", file=sys.stderr)


def _tell(outgoing: Outgoing, as_json: bool) -> None:
    message = outgoing.message
    if as_json:
        print_json({"id": message.id, "type": message.type, "topic": outgoing.topic, "key": message.key})
    else:
        key = f" with key {message.key}" if message.key is not None else ""
        print(f"published {message.type} {message.id} to {outgoing.topic}{key}")
