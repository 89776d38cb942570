"""Which topics does the cluster have, and how are they?"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.kafka.client import Admin, KafkaException
from antiphon.brokers.kafka.faults import fault
from antiphon.brokers.ports import Partition, TopicSpec, TopicState
from antiphon.errors import BrokerError, UnknownTopicError, UnsupportedCapabilityError, UsageError

_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
_MILLISECOND = timedelta(milliseconds=1)
_PAUSE = timedelta(milliseconds=20)
_UNLIMITED = "-1"
_SMALLEST_SEGMENT, _USUAL_SEGMENT = 1 << 20, 1 << 30
USUAL_LARGEST = 1_048_588
"""Bytes of a batch that topics take unless told otherwise."""
_AT_ONCE = 200
"""Topics made in one request: the cluster makes them one by one, and answers when the last is there."""


class Topics:
    """The topics of one cluster. Those that were seen are remembered until one turns out to be gone."""

    def __init__(
        self, admin: Admin, where: str, replication: int, config: Mapping[str, str], *, keeps_all: bool = True
    ) -> None:
        self._keeps_all = keeps_all
        self._admin, self._where = admin, where
        self._replication, self._config = replication, dict(config)
        self._partitions: dict[str, int] = {}
        self.limits: dict[str, int] = {}
        """The largest batch of records that a topic takes, of those that take less than clusters do unless told."""
        self._making = asyncio.Lock()

    def unknown(self, names: Collection[str]) -> set[str]:
        """Those of these that were not seen yet."""
        return {name for name in names if name not in self._partitions}

    def forget(self, name: str) -> None:
        """It may be gone: look for it again when it is used next."""
        self._partitions.pop(name, None)

    async def make_missing(self, names: Collection[str]) -> dict[str, str]:
        """Make the unknown ones of these with the defaults; returns why those that were refused were."""
        refused = {name: f"{name!r} is no name that Kafka allows" for name in names if not _NAME.fullmatch(name)}
        async with self._making:
            missing = self.unknown(names) - refused.keys()
            refused |= await self._learn(missing)
            specs = [TopicSpec(name) for name in sorted(self.unknown(missing) - refused.keys())]
            for start in range(0, len(specs), _AT_ONCE):
                refused |= await self._create(specs[start : start + _AT_ONCE])
        return refused

    async def require(self, names: Collection[str]) -> None:
        """Make the unknown ones of these. Raises BrokerError when one cannot be made."""
        if (unknown := self.unknown(names)) and (refused := await self.make_missing(unknown)):
            name, reason = next(iter(refused.items()))
            raise BrokerError(f"topic {name!r} cannot be made on {self._where}: {reason}")

    async def partitions_of(self, name: str) -> list[Partition]:
        """Those of a topic that is there, also those that it got since. Raises UnknownTopicError."""
        self.forget(name)
        self._raise_denied(await self._learn([name]))
        if name not in self._partitions:
            raise UnknownTopicError(name, list(await self._names()))
        return self.partitions(name)

    def partitions(self, name: str) -> list[Partition]:
        """Those of a topic that was seen."""
        return [Partition(name, number) for number in range(self._partitions.get(name, 0))]

    async def ensure(self, spec: TopicSpec) -> None:
        """Make the topic, or change its retention. Raises UnsupportedCapabilityError when the partitions differ."""
        if spec.partitions < 1:
            raise UsageError(f"topic {spec.name!r} cannot have {spec.partitions} partitions: it needs one at least")
        async with self._making:
            self.forget(spec.name)
            self._raise_denied(await self._learn([spec.name]))
            held = self._partitions.get(spec.name)
            if held is None:
                if refused := await self._create([spec]):
                    raise BrokerError(f"topic {spec.name!r} cannot be made on {self._where}: {refused[spec.name]}")
            elif held != spec.partitions:
                raise UnsupportedCapabilityError(
                    self._where,
                    "change of the number of partitions",
                    f"topic {spec.name!r} has {held}, {spec.partitions} were asked for, and keys would change their "
                    "places: make a topic with another name and move to it",
                )
            else:
                await self._change(spec)

    async def everything(self) -> list[Partition]:
        """All partitions of all topics but Kafka's own. Raises KafkaException."""
        layouts = await self._admin.names()
        return [Partition(name, number) for name, count in layouts.items() for number in range(count)]

    async def states(self) -> list[TopicState]:
        """All topics but Kafka's own."""
        try:
            layouts = await self._admin.names()
            everything = [Partition(name, number) for name, count in layouts.items() for number in range(count)]
            starts, ends, settings = await asyncio.gather(
                self._admin.starts(everything), self._admin.ends(everything), self._admin.settings(layouts)
            )
        except KafkaException as error:
            raise fault(error, self._where, "list the topics") from error
        held = dict.fromkeys(layouts, 0)
        for partition, end in ends.items():
            held[partition.topic] += end - starts.get(partition, end)
        return [_state(name, layouts[name], held[name], settings.get(name, {})) for name in sorted(layouts)]

    async def _names(self) -> Collection[str]:
        try:
            return await self._admin.names()
        except KafkaException as error:
            raise fault(error, self._where, "list the topics") from error

    async def _learn(self, names: Collection[str]) -> dict[str, str]:
        """Look for these; returns why those that may not be looked at may not."""
        try:
            found, denied = await self._admin.layouts(names)
        except KafkaException as error:
            raise fault(error, self._where, f"look at the topics {', '.join(sorted(names))}") from error
        await self.learn_limits(found.keys() - self._partitions.keys())
        self._partitions |= {name: layout.partitions for name, layout in found.items()}
        return {name: str(fault(error, self._where, "use it")) for name, error in denied.items()}

    async def learn_limits(self, names: Collection[str]) -> None:
        """Ask how much these take, into `limits`; what cannot be asked stays as it was."""
        try:
            settings = await self._admin.settings(names)
        except KafkaException:
            return  # who may not ask is told by each refusal
        for name in names:
            limit = int(settings[name].get("max.message.bytes", USUAL_LARGEST))
            if limit < USUAL_LARGEST:
                self.limits[name] = limit
            else:
                self.limits.pop(name, None)

    def _raise_denied(self, denied: Mapping[str, str]) -> None:
        for name, reason in denied.items():
            raise BrokerError(f"topic {name!r}: {reason}")

    async def _create(self, specs: Sequence[TopicSpec]) -> dict[str, str]:
        config = {**self._config, **self._retention(specs[0])}
        counts = {spec.name: spec.partitions for spec in specs}
        try:
            refused = await self._admin.create(counts, self._replication, config)
            await self._await_leaders(counts.keys() - refused.keys())
        except KafkaException as error:
            raise fault(error, self._where, f"make the topics {', '.join(counts)}") from error
        if (limit := int(config.get("max.message.bytes", USUAL_LARGEST))) < USUAL_LARGEST:
            self.limits |= dict.fromkeys(counts.keys() - refused.keys(), limit)
        return refused

    async def _await_leaders(self, names: Collection[str]) -> None:
        """What was made just now takes a moment until it can be read and written."""
        missing = set(names)
        deadline = time.monotonic() + self._admin.patience
        while missing:
            found, _ = await self._admin.layouts(missing)
            self._partitions |= {name: layout.partitions for name, layout in found.items()}
            missing -= {name for name, layout in found.items() if layout.is_led}
            if time.monotonic() > deadline:
                return  # each use of one that is still missing says so
            if missing:
                await asyncio.sleep(_PAUSE.total_seconds())

    def _retention(self, spec: TopicSpec) -> dict[str, str]:
        """What the spec says; where not everything can be kept for ever, what it leaves open is left to the cluster."""
        settings = _retention(spec)
        return settings if self._keeps_all else {n: v for n, v in settings.items() if v != _UNLIMITED}

    async def _change(self, spec: TopicSpec) -> None:
        settings = self._retention(spec)
        try:
            if settings:
                await self._admin.change(spec.name, settings)
        except KafkaException as error:
            raise fault(error, self._where, f"change how long topic {spec.name!r} is kept", spec.name) from error


def _retention(spec: TopicSpec) -> dict[str, str]:
    """Kafka bounds the bytes of each partition, so each has its share of the topic's."""
    keep_for = _UNLIMITED if spec.keep_for is None else str(spec.keep_for // _MILLISECOND)
    keep_bytes = _UNLIMITED if spec.keep_bytes is None else str(spec.keep_bytes // spec.partitions)
    retention = {"retention.ms": keep_for, "retention.bytes": keep_bytes}
    if spec.keep_bytes is not None:
        # Kafka deletes whole segments, and never the one that it writes to.
        segment = min(max(spec.keep_bytes // spec.partitions // 4, _SMALLEST_SEGMENT), _USUAL_SEGMENT)
        retention["segment.bytes"] = str(segment)
    return retention


def _state(name: str, partitions: int, messages: int, settings: Mapping[str, str]) -> TopicState:
    keep_for, keep_bytes = int(settings.get("retention.ms", -1)), int(settings.get("retention.bytes", -1))
    return TopicState(
        name,
        partitions,
        messages,
        None,
        None if keep_for < 0 else timedelta(milliseconds=keep_for),
        None if keep_bytes < 0 else keep_bytes * partitions,
    )
