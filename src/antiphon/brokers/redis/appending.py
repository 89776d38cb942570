"""How do messages get to the ends of their streams?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from time import time_ns
from typing import NamedTuple, cast

from antiphon.brokers.placement import hash_of_key
from antiphon.brokers.redis.driver import Links, as_list
from antiphon.brokers.redis.envelope import Packed, objection, to_packed
from antiphon.brokers.redis.resp import Arg, Reply, pack_args
from antiphon.brokers.redis.scripts import Programs
from antiphon.brokers.redis.topics import Topics
from antiphon.brokers.screening import screen
from antiphon.errors import BrokerError, ConnectionLostError, PublishError, Refusal
from antiphon.events.message import Outgoing

SMALL = 4096
"""Readers take messages to be this large until they are told of larger ones."""
_AT_ONCE, _BYTES_AT_ONCE = 2000, 4 << 20
"""Messages and bytes that the server appends in one step, in which it does nothing else."""


class Confirmation(NamedTuple):
    """What is waited for after each step: so many replicas, and whether for disks. `patience` is in milliseconds."""

    replicas: int
    disk: bool
    patience: int

    def commands(self) -> list[list[Arg]]:
        """What to ask the server with on the connection that wrote."""
        if self.disk:
            return [["WAITAOF", 1, self.replicas, self.patience]]
        return [["WAIT", self.replicas, self.patience]] if self.replicas else []

    def check(self, replies: Sequence[Reply], url: str) -> None:
        """Raise ConnectionLostError when fewer confirmed than were asked for."""
        if not replies:
            return
        disks, replicas = cast("list[int]", replies[0]) if self.disk else (1, cast("int", replies[0]))
        if disks < 1 or replicas < self.replicas:
            found = "its disk did not" if disks < 1 else f"{replicas} of {self.replicas} replicas did"
            raise ConnectionLostError(
                f"{url} took the messages, but of those that were to confirm them {found} in time; it is tried again, "
                "which may write them twice"
            )


@lru_cache(maxsize=1 << 12)
def lane_heading(lane: str, strings: int) -> bytes:
    """What stands before each message: its lane, and how many strings it has."""
    return pack_args((lane, strings))


class Appender:
    """Publishes batches."""

    def __init__(
        self,
        links: Links,
        programs: Programs,
        topics: Topics,
        confirmation: Confirmation,
        max_message_bytes: int,
        url: str,
    ) -> None:
        self._links, self._programs, self._topics = links, programs, topics
        self._confirmation, self._limit, self._url = confirmation, max_message_bytes, url
        self._largest: dict[str, int] = {}
        self._turn = time_ns() // 1000

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """As `Broker.publish`."""
        accepted, packed, refusals = self._prepare(outgoing)
        try:
            await self._append_all(accepted, packed, refusals)
        except _TopicGoneError as gone:
            # Somebody took it from the server's list, so that what is known here is wrong. Nothing of it was written.
            self._topics.forget()
            await self._append_all(accepted[gone.start :], packed[gone.start :], refusals)
        if refusals:
            raise PublishError(refusals)

    def _prepare(self, outgoing: Sequence[Outgoing]) -> tuple[Sequence[Outgoing], Sequence[Packed], list[Refusal]]:
        """What may be written, as it is sent, and a refusal for each of the others."""
        limit = self._limit
        if all(message.data is None or len(message.data) <= limit for _, message in outgoing):
            try:
                "".join({topic for topic, _ in outgoing}).encode()
                return outgoing, [to_packed(message) for _, message in outgoing], []
            except (TypeError, ValueError, OverflowError, AttributeError):
                pass  # one of them cannot be written; find out which
        accepted, refusals = screen(outgoing, lambda each: objection(each, limit))
        return accepted, [to_packed(message) for _, message in accepted], refusals

    async def _append_all(
        self, outgoing: Sequence[Outgoing], packed: Sequence[Packed], refusals: list[Refusal]
    ) -> None:
        """Write them a step at a time, and add to `refusals` what the server did not take."""
        await self._topics.make_missing([topic for topic, _ in outgoing])
        lanes = self._lanes_of(outgoing)
        refused: dict[str, str] = {}
        for start, stop in _steps(outgoing):
            places = [place for place in range(start, stop) if lanes[place] not in refused]
            if refused:
                behind = (place for place in range(start, stop) if lanes[place] in refused)
                refusals += [_held_back(outgoing[place], refused[lanes[place]]) for place in behind]
            found = await self._append(start, [(lanes[n], outgoing[n], packed[n]) for n in places])
            for lane, first, reason in zip(found[::3], found[1::3], found[2::3], strict=True):
                name, at = cast("bytes", lane).decode(), places[cast("int", first)]
                refused[name] = reason = cast("bytes", reason).decode("utf-8", "replace")
                refusals.append(Refusal(*_named(outgoing[at]), f"the server refused it: {reason}"))
                later = (n for n in places if n > at and lanes[n] == name)
                refusals += [_held_back(outgoing[n], reason) for n in later]

    async def _append(self, start: int, step: Sequence[tuple[str, Outgoing, Packed]]) -> list[Reply]:
        written: list[bytes] = []
        for lane, _, (strings, packed) in step:
            written += (lane_heading(lane, strings), packed)
        tail = (sum(strings + 2 for _, _, (strings, _) in step), (b"".join(written),))
        try:
            found, *confirmed = await self._programs.run_then(
                self._links, "publish", self._heading(step), tail, self._confirmation.commands()
            )
        except BrokerError as error:
            if str(error.__cause__).startswith("TOPIC "):
                raise _TopicGoneError(start) from error
            raise
        self._confirmation.check(confirmed, self._url)
        return as_list(found)

    def _heading(self, step: Sequence[tuple[str, Outgoing, Packed]]) -> list[Arg]:
        """What the program must know first: the topics, and of lanes with large messages how large."""
        topics = dict.fromkeys([outgoing.topic for _, outgoing, _ in step])
        args: list[Arg] = [len(topics)]
        for topic in topics:
            args += (topic, self._topics.known(topic) or 0)
        larger: dict[str, int] = {}
        for lane, (_, message), _ in step:
            data = message.data
            if data is not None and len(data) > SMALL and len(data) > self._largest.get(lane, SMALL):
                larger[lane] = self._largest[lane] = len(data)
        args.append(len(larger))
        for lane, size in larger.items():
            args += (lane, size)
        return args

    def _lanes_of(self, outgoing: Sequence[Outgoing]) -> list[str]:
        """The lane of each."""
        counts = {topic: self._topics.known(topic) or 1 for topic in dict.fromkeys([topic for topic, _ in outgoing])}
        lanes: list[str] = []
        for topic, message in outgoing:
            key = message.key
            placed = self._next_turn() if key is None else hash_of_key(key)
            lanes.append(f"{topic}:{placed % counts[topic]}")
        return lanes

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


class _TopicGoneError(Exception):
    """A topic is not what it was; nothing from place `start` on was written."""

    def __init__(self, start: int) -> None:
        self.start = start
        super().__init__()


def _steps(outgoing: Sequence[Outgoing]) -> Iterator[tuple[int, int]]:
    """Ranges of places that are written at once."""
    start = size = 0
    for place, (_, message) in enumerate(outgoing):
        size += 0 if message.data is None else len(message.data)
        if place - start >= _AT_ONCE or (size > _BYTES_AT_ONCE and place > start):
            yield start, place
            start, size = place, 0 if message.data is None else len(message.data)
    if start < len(outgoing):
        yield start, len(outgoing)


def _named(outgoing: Outgoing) -> tuple[str, str]:
    return outgoing.topic, outgoing.message.id


def _held_back(outgoing: Outgoing, reason: str) -> Refusal:
    return Refusal(*_named(outgoing), f"the server refused one before it in its partition: {reason}", retryable=True)
