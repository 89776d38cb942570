"""How does one group get messages of its own, past the exchange of their topic?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq.codec import Envelope, route
from antiphon.brokers.rabbitmq.driver import Lane, Link, MissingError
from antiphon.brokers.rabbitmq.lines import Lines
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.publishing import Publishing, named
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.errors import ConnectionLostError, PublishError, UsageError
from antiphon.events.message import Message, Outgoing


class Filler:
    """Empties and fills the queues of groups that nobody reads."""

    def __init__(
        self, link: Link, lines: Lines, registry: Registry, names: Names, publishing: Publishing, outlet: Outlet
    ) -> None:
        self._link, self._lines, self._registry, self._names = link, lines, registry, names
        self._publishing, self._outlet = publishing, outlet

    async def empty(self, group: str, topic: str) -> None:
        """As `Filling.empty`."""
        queues, is_unread = await self._lines.join(group, [topic], takes_waiting=True)
        if not is_unread:
            raise UsageError(f"group {group!r} has members that read {topic!r}: stop them, and empty it then")
        await asyncio.gather(*(self._link.do(partial(_purge, queue=queue)) for queue in queues.values()))

    async def fill(self, group: str, partition: Partition, messages: Sequence[Message]) -> None:
        """As `Filling.fill`."""
        accepted, refusals = self._publishing.screened([Outgoing(partition.topic, each) for each in messages])
        way = route("", self._names.queue(self._registry.line(group, partition.topic), partition.number))
        try:
            refused = await self._outlet.send([Envelope(way, message, {}) for _, message in accepted])
        except MissingError as error:
            raise ConnectionLostError(f"{error}; fill the group again from the beginning") from error
        refusals += named(accepted, refused)
        if refusals:
            raise PublishError(refusals)


async def _purge(lane: Lane, queue: str) -> None:
    await lane.purge_queue(queue)
