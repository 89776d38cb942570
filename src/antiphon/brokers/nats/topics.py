"""Which topics are there, and what are the streams that hold them?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from msgspec import Struct, convert

from antiphon.brokers.nats.calls import STREAM_MISSING, RefusedError
from antiphon.brokers.nats.link import Link
from antiphon.brokers.nats.names import stream_of, subjects_of
from antiphon.brokers.ports import TopicSpec, TopicState
from antiphon.errors import BrokerError, UnknownTopicError, UnsupportedCapabilityError, UsageError

_MARK = "antiphon.topic"
"""The metadata of a stream that holds a topic: the topic's name."""
_NAMESPACE = "antiphon.namespace"
_IN_USE, _OVERLAP = 10058, 10065
_AT_ONCE = 64
_MOST = 900
"""Partitions whose places can be read at once."""
_MICROSECOND = timedelta(microseconds=1)


class Shape(Struct, frozen=True, kw_only=True):
    """How streams are made: how many copies there are, and for how long an id is remembered."""

    replicas: int = 1
    remember: timedelta = timedelta(minutes=2)
    namespace: str = ""


class StreamConfig(Struct):
    name: str = ""
    subjects: list[str] = []
    max_age: int = 0
    max_bytes: int = -1
    allow_atomic: bool = False
    allow_direct: bool = False
    metadata: dict[str, str] = {}


class StreamState(Struct):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


class StreamInfo(Struct):
    """A stream as the server describes it."""

    config: StreamConfig
    created: str
    state: StreamState
    ts: str = "1970-01-01T00:00:00Z"
    """The server's time when it said so."""


class _Page(Struct):
    total: int = 0
    streams: list[dict[str, object]] | None = None


class Topic(Struct, frozen=True):
    """A topic that exists, and where it is."""

    name: str
    stream: str
    subjects: tuple[str, ...]
    is_atomic: bool
    """Whether a batch is kept whole or not at all."""

    @property
    def partitions(self) -> int:
        return len(self.subjects)


class Topics:
    """The topics of one server. What is known is kept, since topics are never repartitioned."""

    def __init__(self, link: Link, shape: Shape) -> None:
        self._link, self._shape = link, shape
        self._known: dict[str, Topic] = {}
        self._making: dict[str, asyncio.Lock] = {}

    def known(self, name: str) -> Topic | None:
        return self._known.get(name)

    async def find(self, name: str) -> Topic:
        """Raises UnknownTopicError."""
        found = self._known.get(name)
        if found is None:
            await self.info(name)
            found = self._known[name]
        return found

    async def info(self, name: str) -> StreamInfo:
        """How the topic's stream is now. Raises UnknownTopicError."""
        stream = stream_of(name, self._shape.namespace)
        try:
            info = convert(await self._link.ask(f"STREAM.INFO.{stream}"), StreamInfo)
        except RefusedError as error:
            if error.code == STREAM_MISSING:
                raise UnknownTopicError(name) from error
            raise BrokerError(f"topic {name!r} of {self._link.url} cannot be looked at: {error}") from error
        self._learn(name, info)
        return info

    async def make_missing(self, names: Iterable[str]) -> None:
        """Make the unknown ones of these with the defaults."""
        missing = [name for name in dict.fromkeys(names) if name not in self._known]
        for start in range(0, len(missing), _AT_ONCE):
            await asyncio.gather(*(self._find_or_make(name) for name in missing[start : start + _AT_ONCE]))

    async def _find_or_make(self, name: str) -> None:
        async with self._making.setdefault(name, asyncio.Lock()):
            if name not in self._known:
                try:
                    await self.info(name)
                except UnknownTopicError:
                    await self._make(TopicSpec(name))
        self._making.pop(name, None)

    async def ensure(self, spec: TopicSpec) -> None:
        """Make the topic, or change its retention. Raises UnsupportedCapabilityError when the partitions differ."""
        try:
            info = await self.info(spec.name)
        except UnknownTopicError:
            await self._make(spec)
            return
        held = len(info.config.subjects)
        if held != spec.partitions:
            raise UnsupportedCapabilityError(
                self._link.url,
                "change of the number of partitions",
                f"topic {spec.name!r} has {held}, {spec.partitions} were asked for, and keys would change their "
                "places: make a topic with another name and move to it",
            )
        await self._change(spec)

    async def states(self) -> list[TopicState]:
        return [
            TopicState(
                name=info.config.metadata[_MARK],
                partitions=len(info.config.subjects),
                messages=info.state.messages,
                bytes=info.state.bytes,
                keep_for=info.config.max_age // 1000 * _MICROSECOND if info.config.max_age else None,
                keep_bytes=info.config.max_bytes if info.config.max_bytes >= 0 else None,
            )
            for info in await self._list()
        ]

    async def _list(self) -> list[StreamInfo]:
        found: list[StreamInfo] = []
        offset = 0
        while True:
            page = convert(await self._link.ask("STREAM.LIST", {"offset": offset}), _Page)
            streams = page.streams or []
            infos = [convert(each, StreamInfo) for each in streams]
            found += [info for info in infos if self._is_ours(info)]
            offset += len(streams)
            if offset >= page.total or not streams:
                return found

    def _is_ours(self, info: StreamInfo) -> bool:
        metadata = info.config.metadata
        return _MARK in metadata and metadata.get(_NAMESPACE, "") == self._shape.namespace

    async def _make(self, spec: TopicSpec) -> None:
        if not 1 <= spec.partitions <= _MOST:
            raise UsageError(f"topic {spec.name!r} cannot have {spec.partitions} partitions: it has 1 to {_MOST}")
        wanted = self._config(spec)
        try:
            answer = await self._link.ask(f"STREAM.CREATE.{wanted['name']}", wanted)
        except RefusedError as error:
            if error.code == _IN_USE:  # somebody else was faster
                await self.ensure(spec)
                return
            raise BrokerError(_unmakeable(spec.name, self._link.url, error)) from error
        await refuse_dropped(self._link, wanted, answer)
        self._learn(spec.name, convert(answer, StreamInfo))

    async def _change(self, spec: TopicSpec) -> None:
        """Bring the retention of a stream in line, whatever else somebody set on it."""
        topic = self._known[spec.name]
        answer = await self._link.ask(f"STREAM.INFO.{topic.stream}")
        config = convert(answer["config"], dict[str, object])
        wanted = {key: value for key, value in self._config(spec).items() if key in _RETENTION}
        if all(config.get(key) == value for key, value in wanted.items()):
            return
        try:
            answer = await self._link.ask(f"STREAM.UPDATE.{topic.stream}", config | wanted)
        except RefusedError as error:
            raise BrokerError(f"topic {spec.name!r} of {self._link.url} cannot be changed: {error}") from error
        await refuse_dropped(self._link, wanted, answer)

    def _config(self, spec: TopicSpec) -> dict[str, object]:
        age = 0 if spec.keep_for is None else spec.keep_for // _MICROSECOND * 1000
        remember = self._shape.remember // _MICROSECOND * 1000
        window: dict[str, object] = {"duplicate_window": min(remember, age) if age else remember} if remember else {}
        return window | {
            "name": stream_of(spec.name, self._shape.namespace),
            "subjects": subjects_of(spec.name, spec.partitions, self._shape.namespace),
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "num_replicas": self._shape.replicas,
            "max_age": age,
            "max_bytes": -1 if spec.keep_bytes is None else spec.keep_bytes,
            "allow_direct": True,
            "allow_atomic": True,
            "metadata": {_MARK: spec.name, _NAMESPACE: self._shape.namespace},
        }

    def _learn(self, name: str, info: StreamInfo) -> None:
        config = info.config
        expected = subjects_of(name, len(config.subjects), self._shape.namespace)
        if sorted(config.subjects) != sorted(expected) or not config.allow_direct:
            raise BrokerError(
                f"stream {config.name} of {self._link.url} is no topic: it must have the subjects {expected[0]} and so "
                f"on, one for each partition, and allow_direct, but has {', '.join(config.subjects[:3]) or 'none'}: "
                "give the topic another name, or use a namespace"
            )
        self._known[name] = Topic(name, config.name, tuple(expected), config.allow_atomic)


_RETENTION = {"max_age", "max_bytes", "duplicate_window"}


def _unmakeable(name: str, url: str, error: RefusedError) -> str:
    mend = "another stream takes these subjects: use a namespace" if error.code == _OVERLAP else "see the server's log"
    return f"topic {name!r} cannot be made on {url}: {error}: {mend}"


async def refuse_dropped(link: Link, wanted: Mapping[str, object], answer: Mapping[str, object]) -> None:
    """Raise BrokerError when the server did not keep an option: old ones drop what they do not know, in silence."""
    kept = convert(answer["config"], dict[str, object])
    if dropped := dropped_options(wanted, kept):
        raise BrokerError(
            f"{link.url} made stream {wanted.get('name', kept.get('name'))} without {', '.join(dropped)}, which it "
            "does not know or overrides: use a newer server, or mend the stream by hand"
        )


def dropped_options(wanted: Mapping[str, object], kept: Mapping[str, object]) -> Sequence[str]:
    """The options that were asked for and did not come to be."""
    return [name for name, value in wanted.items() if value and not _is_kept(value, kept.get(name))]


def _is_kept(value: object, found: object) -> bool:
    if isinstance(value, dict) and isinstance(found, dict):
        wanted, held = convert(value, dict[str, object]), convert(found, dict[str, object])
        return all(held.get(key, "") == each for key, each in wanted.items())
    return value == found
