"""`antiphon topics`: which topics there are, and what do they hold?"""

from __future__ import annotations

import typer

from antiphon.brokers.ports import TopicState
from antiphon.cli.options import BrokerOption, JsonOption
from antiphon.cli.output import print_json, print_table, seconds
from antiphon.cli.session import opened, run_async, settings_for
from antiphon.events.amounts import show_duration, show_size
from antiphon.runtime.settings import Settings

app = typer.Typer(add_completion=False)


@app.command()
def topics(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """List the topics and what they hold."""
    found = run_async(_topics(settings_for(broker)))
    if as_json:
        print_json([_in_json(topic) for topic in found])
    elif found:
        columns = ("TOPIC", "PARTITIONS", "MESSAGES", "SIZE", "KEPT FOR", "KEPT UP TO")
        print_table(columns, [_row(topic) for topic in found], right=columns[1:4])
    else:
        print("no topics yet")


async def _topics(settings: Settings) -> list[TopicState]:
    async with opened(settings) as broker:
        return sorted(await broker.topics(), key=lambda topic: topic.name)


def _row(topic: TopicState) -> tuple[object, ...]:
    kept_for = "ever" if topic.keep_for is None else show_duration(topic.keep_for)
    kept = "any size" if topic.keep_bytes is None else show_size(topic.keep_bytes)
    size = "" if topic.bytes is None else show_size(topic.bytes)
    return (topic.name, topic.partitions, topic.messages, size, kept_for, kept)


def _in_json(topic: TopicState) -> dict[str, object]:
    return {
        "name": topic.name,
        "partitions": topic.partitions,
        "messages": topic.messages,
        "bytes": topic.bytes,
        "keep_for_seconds": None if topic.keep_for is None else seconds(topic.keep_for),
        "keep_bytes": topic.keep_bytes,
    }
