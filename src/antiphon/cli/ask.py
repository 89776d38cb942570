"""`antiphon ask`: one request from the command line, and the reply to it."""

from __future__ import annotations

from typing import Annotated

import typer

from antiphon.cli.event_types import event_types, find_event_type
from antiphon.cli.fields import build_event, read_fields
from antiphon.cli.messages import data_in_json
from antiphon.cli.options import BrokerOption, JsonOption, ModulesOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.publish import load_declaring
from antiphon.cli.session import opened, run_async, settings_for
from antiphon.cli.times import read_duration
from antiphon.errors import UsageError
from antiphon.events.message import Message
from antiphon.runtime.asking import Asker
from antiphon.runtime.settings import Settings

_NAME = "antiphon-cli"

app = typer.Typer(add_completion=False)


@app.command()
def ask(
    event_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="Name of the request, or module:Class.", show_default=False)
    ],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="product=tea, or as JSON: amounts:='[1, 2]'.", show_default=False),
    ] = None,
    within: Annotated[
        str, typer.Option("--within", metavar="DURATION", help="How long to wait for the reply, as in 500ms or 2s.")
    ] = "5s",
    key: Annotated[str | None, typer.Option("--key", help="Instead of the request's own key.")] = None,
    modules: ModulesOption = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the service that answers, and print its reply.

    The request's fields are converted to their declared types and checked, before anything is sent.
    """
    settings = settings_for(broker)
    patience = read_duration("--within", within)
    if not patience:
        raise UsageError(f"--within {within}: say how long to wait for the reply, as in 500ms or 2s")
    load_declaring(event_type, modules, settings)
    cls = find_event_type(event_type, event_types())
    request = build_event(cls, read_fields(fields or ()))

    async def asked(settings: Settings) -> Message:
        async with opened(settings) as opened_broker, Asker(opened_broker, name=_NAME) as asker:
            return await asker.ask_message(request, within=patience, key=key)

    _tell(run_async(asked(settings)), as_json=as_json)


def _tell(reply: Message, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": reply.id, "type": reply.type, "source": reply.source, **data_in_json(reply)})
        return
    print_text(f"{reply.type} from {reply.source}")
    print_json(data_in_json(reply).get("data"))
