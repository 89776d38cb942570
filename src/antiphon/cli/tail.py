"""`antiphon tail`: what goes over a topic, as it comes?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from antiphon.brokers.ports import Broker, Browsing, Delivery
from antiphon.cli.messages import message_in_json, message_line
from antiphon.cli.options import BrokerOption, JsonOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import browsing, opened, run_async, settings_for
from antiphon.errors import UnknownTopicError
from antiphon.runtime.settings import Settings

app = typer.Typer(add_completion=False)

_AT_ONCE = 500
_PAUSE = timedelta(milliseconds=200)


class From(StrEnum):
    """Where a tail begins."""

    START = "start"
    END = "end"


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic to read.", show_default=False)],
    begin: Annotated[From | None, typer.Option("--from", help="Default: end, with --no-follow start.")] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with what comes, until Ctrl-C.")] = True,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after so many messages.")] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the messages of a topic as they come.

    One JSON object a line when it is piped. No group is moved by it.
    """
    as_lines = as_json or not sys.stdout.isatty()
    start = begin or (From.END if follow else From.START)
    try:
        run_async(_tail(settings_for(broker), topic, start, follow, limit, as_lines))
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _tail(settings: Settings, topic: str, start: From, follow: bool, limit: int | None, as_lines: bool) -> None:
    shown = 0
    async with opened(settings) as broker:
        await _found(broker, topic, follow)
        async for delivery in _messages(browsing(broker), topic, start, follow):
            if as_lines:
                print_json(message_in_json(delivery))
            else:
                print_text(message_line(delivery))
            shown += 1
            if shown == limit:
                return


async def _found(broker: Broker, topic: str, follow: bool) -> None:
    """Return when the topic is there; whoever follows waits for it. Raises UnknownTopicError."""
    told = False
    while topic not in (known := [state.name for state in await broker.topics()]):
        if not follow:
            raise UnknownTopicError(topic, known)
        if not told:
            there = ", ".join(sorted(known)) or "none yet"
            print(f"waiting for topic {topic!r}, which is not there yet; there are {there}", file=sys.stderr)
            told = True
        await asyncio.sleep(_PAUSE.total_seconds())


async def _messages(broker: Browsing, topic: str, start: From, follow: bool) -> AsyncIterator[Delivery]:
    after = dict(await broker.ends(topic)) if start is From.END else dict[int, str]()
    while True:
        found = await broker.browse(topic, after, _AT_ONCE)
        for delivery in found:
            after[delivery.partition.number] = delivery.position
            yield delivery
        if not found and not follow:
            return
        if not found:
            await asyncio.sleep(_PAUSE.total_seconds())
