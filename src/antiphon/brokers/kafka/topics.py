"""Which topics does the cluster have, and how are they?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from antiphon.brokers.kafka.client import Admin, KafkaException
from antiphon.brokers.kafka.faults import fault
from antiphon.brokers.ports import Partition, TopicSpec, TopicState
from antiphon.errors import BrokerError, UnknownTopicError, UnsupportedCapabilityError, UsageError

_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
_MILLISECOND = timedelta(milliseconds=1)
_PAUSE, _LOOKS = timedelta(milliseconds=20), 250
_UNLIMITED = "-1"
_SMALLEST_SEGMENT, _USUAL_SEGMENT = 1 << 20, 1 << 30
_AT_ONCE = 200
"""Topics made in one request: the cluster makes them one by one, and answers when the last is there."""


class Topics:
    """The topics of one cluster. Those that were seen are remembered until one turns out to be gone."""

    def __init__(self, admin: Admin, where: str, replication: int, config: Mapping[str, str]) -> None:
        self._admin, self._where = admin, where
        self._replication, self._config = replication, dict(config)
        self._partitions: dict[str, int] = {}
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
            await self._learn(missing)
            specs = [TopicSpec(name) for name in sorted(self.unknown(missing))]
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
        await self._learn([name])
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
            await self._learn([spec.name])
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
        held = {name: 0 for name in layouts}
        for partition, end in ends.items():
            held[partition.topic] += end - starts.get(partition, end)
        return [_state(name, layouts[name], held[name], settings.get(name, {})) for name in sorted(layouts)]

    async def _names(self) -> Collection[str]:
        try:
            return await self._admin.names()
        except KafkaException as error:
            raise fault(error, self._where, "list the topics") from error

    async def _learn(self, names: Collection[str]) -> None:
        try:
            found = await self._admin.layouts(names)
        except KafkaException as error:
            raise fault(error, self._where, f"look at the topics {', '.join(sorted(names))}") from error
        self._partitions |= {name: layout.partitions for name, layout in found.items()}

    async def _create(self, specs: Sequence[TopicSpec]) -> dict[str, str]:
        config = {**self._config, **_retention(specs[0])}
        counts = {spec.name: spec.partitions for spec in specs}
        try:
            refused = await self._admin.create(counts, self._replication, config)
            await self._await_leaders(counts.keys() - refused.keys())
        except KafkaException as error:
            raise fault(error, self._where, f"make the topics {', '.join(counts)}") from error
        return refused

    async def _await_leaders(self, names: Collection[str]) -> None:
        """What was made just now takes a moment until it can be read and written."""
        missing = set(names)
        for _ in range(_LOOKS):
            found = await self._admin.layouts(missing)
            self._partitions |= {name: layout.partitions for name, layout in found.items()}
            missing -= {name for name, layout in found.items() if layout.is_led}
            if not missing:
                return
            await asyncio.sleep(_PAUSE.total_seconds())

    async def _change(self, spec: TopicSpec) -> None:
        try:
            await self._admin.change(spec.name, _retention(spec))
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
