"""`antiphon describe`: what do services read, emit and guarantee, and who reacts to what?"""

from __future__ import annotations

from typing import Annotated

import typer

from antiphon.cli.modules import load_services
from antiphon.cli.options import BrokerOption, JsonOption, ModulesArgument, StoreOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import settings_for
from antiphon.runtime.description import ServiceDescription
from antiphon.runtime.flow import Flow, boxes, flow_of, mermaid
from antiphon.runtime.host import check_groups
from antiphon.runtime.summary import summarize

app = typer.Typer(add_completion=False)


@app.command()
def describe(
    modules: ModulesArgument = None,
    flow: Annotated[bool, typer.Option("--flow", help="Draw who reacts to what with which event.")] = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Draw it as Mermaid, for documents.")] = False,
    broker: BrokerOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what services do and guarantee, without starting them."""
    settings = settings_for(broker, store)
    services = load_services(modules, settings)
    check_groups(services, settings)
    described = [service.describe(settings=settings) for service in services]
    if as_json:
        print_json(_in_json(described, flow_of(described) if flow or as_mermaid else None))
    elif as_mermaid:
        print(mermaid(flow_of(described)), end="")
    else:
        print_text(boxes(flow_of(described)) if flow else summarize(described))


def _in_json(described: list[ServiceDescription], flow: Flow | None) -> object:
    return described if flow is None else {"services": described, "edges": flow.edges}
