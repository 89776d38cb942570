"""Which topics are there, and how many partitions does each have?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import NamedTuple, cast

from antiphon.brokers.ports import Partition, TopicSpec, TopicState
from antiphon.brokers.redis.places import lane_of
from antiphon.brokers.redis.resp import Arg, pack
from antiphon.brokers.redis.scripts import Asking, Programs
from antiphon.errors import UnknownTopicError, UnsupportedCapabilityError, UsageError

_MICROSECOND = timedelta(microseconds=1)
_AT_ONCE = 200
"""Topics asked about in one call, so that the server is not held up."""


class Kept(NamedTuple):
    """What the server knows of a topic."""

    name: str
    partitions: int
    keep_for: timedelta | None
    keep_bytes: int | None


class Topics:
    """The topics of one log. Numbers of partitions are kept, since they never change."""

    def __init__(self, link: Asking, programs: Programs, url: str) -> None:
        self._link, self._programs, self._url = link, programs, url
        self._partitions: dict[str, int] = {}

    def known(self, topic: str) -> int | None:
        """Its number of partitions, where that was asked for before."""
        return self._partitions.get(topic)

    def forget(self) -> None:
        """Ask anew."""
        self._partitions.clear()

    async def make_missing(self, names: Collection[str]) -> None:
        """Make those of these that are unknown with the defaults, and know them all."""
        missing = [name for name in dict.fromkeys(names) if name not in self._partitions]
        for start in range(0, len(missing), _AT_ONCE):
            await self._ensure("missing", [TopicSpec(name) for name in missing[start : start + _AT_ONCE]])

    async def ensure(self, spec: TopicSpec) -> None:
        """Make the topic, or change its retention. Raises UnsupportedCapabilityError when the partitions differ."""
        if spec.partitions < 1:
            raise UsageError(f"topic {spec.name!r} cannot have {spec.partitions} partitions: it needs one at least")
        await self._ensure("change", [spec])
        if (held := self._partitions[spec.name]) != spec.partitions:
            raise UnsupportedCapabilityError(
                self._url,
                "change of the number of partitions",
                f"topic {spec.name!r} has {held}, {spec.partitions} were asked for, and keys would change their "
                "places: make a topic with another name and move to it",
            )

    async def lanes(self, topic: str) -> list[str]:
        """The lanes of a topic that exists. Raises UnknownTopicError."""
        count = self._partitions.get(topic)
        if count is None:
            kept = {each.name: each for each in await self.kept()}
            if topic not in kept:
                raise UnknownTopicError(topic, sorted(kept))
            count = self._partitions[topic] = kept[topic].partitions
        return [lane_of(Partition(topic, number)) for number in range(count)]

    async def kept(self) -> list[Kept]:
        """All topics, by name."""
        (reply,) = await self._link.send([pack(("HGETALL", f"{self._programs.prefix}:topics"))], 1)
        pairs = cast("list[bytes]", reply)
        return sorted(_kept(name, value) for name, value in zip(pairs[::2], pairs[1::2], strict=True))

    async def states(self) -> list[TopicState]:
        """What each topic holds."""
        states: list[TopicState] = []
        kept = await self.kept()
        for start in range(0, len(kept), _AT_ONCE):
            some = kept[start : start + _AT_ONCE]
            lanes = [lane_of(Partition(each.name, n)) for each in some for n in range(each.partitions)]
            held = iter(cast("list[int]", await self._programs.run(self._link, "states", *lanes)))
            for each in some:
                counts = [(next(held), next(held)) for _ in range(each.partitions)]
                messages, size = (sum(part) for part in zip(*counts, strict=True))
                states.append(TopicState(each.name, each.partitions, messages, size, each.keep_for, each.keep_bytes))
        return states

    async def _ensure(self, how: str, specs: Sequence[TopicSpec]) -> None:
        args: list[Arg] = []
        for spec in specs:
            args += (spec.name, spec.partitions, _retention(spec))
        found = cast("list[int]", await self._programs.run(self._link, "ensure", how, *args))
        self._partitions.update({spec.name: count for spec, count in zip(specs, found, strict=True)})


def _retention(spec: TopicSpec) -> str:
    keep_for = "-" if spec.keep_for is None else str(spec.keep_for // _MICROSECOND)
    return f"{keep_for} {'-' if spec.keep_bytes is None else spec.keep_bytes}"


def _kept(name: bytes, value: bytes) -> Kept:
    partitions, keep_for, keep_bytes = value.decode().split(" ")
    return Kept(
        name.decode(),
        int(partitions),
        None if keep_for == "-" else int(keep_for) * _MICROSECOND,
        None if keep_bytes == "-" else int(keep_bytes),
    )
