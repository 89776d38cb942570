"""Which topics and groups are there? The server tells no client, so that they are written down in a stream of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal
from uuid import uuid4

import msgspec

from antiphon.brokers.rabbitmq.driver import Link, MissingError
from antiphon.brokers.rabbitmq.names import Line, Names, registry_arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.stream import Stream
from antiphon.errors import ConnectionLostError


class Entry(msgspec.Struct, omit_defaults=True):
    """One thing that is there from now on."""

    kind: Literal["registry", "topic", "group", "waiting"]
    name: str
    partitions: int = 0
    number: int = 0
    topic: str = ""
    takes_waiting: bool = False
    """Whether the group wants what was published before it, if it is the first of its topic that does."""


class Registry:
    """What is there, as the stream says it. Of two who make one thing the earlier one made it."""

    def __init__(self, link: Link, outlet: Outlet, names: Names, stream: str | None = None) -> None:
        self.identity = ""
        self.topics: dict[str, int] = {}
        """Numbers of partitions."""
        self.groups: defaultdict[str, list[str]] = defaultdict(list)
        """The topics of each group."""
        self._first: dict[str, str] = {}
        self._waiting: set[tuple[str, int]] = set()
        """The queues that are there for the first group of a topic."""
        self._stream = Stream(link, outlet, stream or names.registry, registry_arguments(), Entry, self._take)

    async def open(self) -> None:
        """Read what is there, or begin it. Raises ConnectionLostError."""
        await self._stream.open()
        if not await self._stream.catch_up() or not self.identity:
            await self._stream.write([Entry("registry", uuid4().hex)])

    async def is_another(self) -> bool:
        """Whether what we know of is gone: the server was emptied, or is another one."""
        try:
            first = await self._stream.first()
        except MissingError:
            return True
        if first is None:
            raise ConnectionLostError("the server does not hand out its registry yet")
        return first.name != self.identity

    def begin_anew(self) -> None:
        """Forget all; what was known is not there any more."""
        self.identity = ""
        self.topics.clear()
        self.groups.clear()
        self._first.clear()
        self._waiting.clear()
        self._stream.begin_anew()

    async def reopen(self) -> None:
        await self._stream.open()

    async def close(self) -> None:
        await self._stream.close()

    async def make_topics(self, partitions: Mapping[str, int]) -> None:
        """Write down those that are missing; afterwards `topics` has them all, as whoever was first made them."""
        new = [Entry("topic", name, number) for name, number in partitions.items() if name not in self.topics]
        if new:
            await self._stream.write(new)

    async def join(self, group: str, topics: Iterable[str], *, takes_waiting: bool) -> None:
        """Write down that `group` reads these from now on."""
        known = self.groups.get(group, ())
        new = [
            Entry("group", group, topic=topic, takes_waiting=takes_waiting) for topic in topics if topic not in known
        ]
        if new:
            await self._stream.write(new)

    def has_waiting(self, topic: str, number: int) -> bool:
        """Whether there is a queue for the first group of the topic."""
        return (topic, number) in self._waiting

    async def note_waiting(self, places: Iterable[tuple[str, int]]) -> None:
        """Write down that these are there now."""
        if new := [Entry("waiting", topic, number=number) for topic, number in places]:
            await self._stream.write(new)

    def line(self, group: str, topic: str) -> Line:
        """Which queues of the topic are the group's."""
        return Line(topic, "" if self._first.get(topic) == group else group)

    def queues(self, names: Names) -> Iterator[tuple[Line, int, str]]:
        """All queues of all lines that are there."""
        for topic, number in self._waiting:
            yield Line(topic, ""), number, names.queue(Line(topic, ""), number)
        for group, topics in self.groups.items():
            for topic in topics:
                line = self.line(group, topic)
                for number in range(self.topics[topic]):
                    if line.owner or (topic, number) not in self._waiting:
                        yield line, number, names.queue(line, number)

    def _take(self, entry: Entry) -> None:
        match entry.kind:
            case "registry":
                self.identity = self.identity or entry.name
            case "topic":
                self.topics.setdefault(entry.name, entry.partitions)
            case "group" if entry.topic not in self.groups[entry.name]:
                self.groups[entry.name].append(entry.topic)
                if entry.takes_waiting:
                    self._first.setdefault(entry.topic, entry.name)
            case "waiting":
                self._waiting.add((entry.name, entry.number))
            case _:
                pass
