"""How do messages get onto the server: whole batches where it keeps them whole, else one of each key at a time.

A connection that breaks in the middle of a batch loses its beginning and may yet send its end. A server that keeps
batches whole then takes nothing of it. Alone, the second message of a key is sent only when the first is confirmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

from antiphon.brokers.nats.calls import NOBODY_LISTENS, Ack, Post
from antiphon.brokers.nats.envelope import pack, size_of
from antiphon.brokers.nats.link import Link
from antiphon.brokers.nats.topics import Topic, Topics
from antiphon.brokers.placement import place
from antiphon.brokers.screening import screen
from antiphon.errors import DataLostError, EncodeError, PublishError, Refusal, UnknownTopicError
from antiphon.events.message import Outgoing

_MOST, _LARGEST = 1000, 8 << 20
"""Messages, and bytes, of one batch; the server takes 1000 by default."""
_ALONE = 2000
"""So many messages on their way at once, where each has its own confirmation."""
ROOM = 8 * 1024
"""What is left of the server's limit for headers."""


class _Letter(NamedTuple):
    """A message, written, with its place."""

    outgoing: Outgoing
    post: Post


class Publisher:
    """Publishes through one link."""

    def __init__(self, link: Link, topics: Topics, *, with_ids: bool) -> None:
        self._link, self._topics, self._with_ids = link, topics, with_ids
        self._turn = count()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """As `Broker.publish`."""
        written: dict[int, tuple[dict[str, str], bytes]] = {}
        accepted, refusals = screen(outgoing, lambda each: self._write(each, written))
        await self._topics.make_missing(topic for topic, _ in accepted)
        by_topic: dict[str, list[_Letter]] = {}
        for each in accepted:
            topic = self._topics.known(each.topic)
            assert topic is not None, "it was just made"
            headers, body = written[id(each)]
            by_topic.setdefault(each.topic, []).append(_Letter(each, Post(self._subject(topic, each), body, headers)))
        refused = await self._publish_all(by_topic)
        refusals = [*refusals, *(refusal for each in refused for refusal in each)]
        if refusals:
            raise PublishError(_in_order(outgoing, refusals))

    def _write(self, each: Outgoing, written: dict[int, tuple[dict[str, str], bytes]]) -> str | None:
        """Write it down, or say why it cannot be taken."""
        data, limit = each.message.data or b"", self._link.max_payload
        if len(data) > limit - ROOM:
            return f"its {len(data)} bytes are more than the {limit - ROOM} that the server leaves for data"
        try:
            headers, body = pack(each.message, with_id=self._with_ids)
        except EncodeError as error:
            return str(error)
        if (size := size_of(headers, body)) > limit:
            return f"with its headers it has {size} bytes, more than the {limit} that the server takes"
        written[id(each)] = (headers, body)
        return None

    def _subject(self, topic: Topic, each: Outgoing) -> str:
        key, subjects = each.message.key, topic.subjects
        return subjects[next(self._turn) % len(subjects) if key is None else place(key, len(subjects))]

    async def _publish_all(self, by_topic: dict[str, list[_Letter]]) -> list[list[Refusal]]:
        """One confirmation for all: single messages of many topics go out together, batches topic by topic."""
        single = [letters[0] for letters in by_topic.values() if len(letters) == 1]
        work = [self._publish_topic(name, letters) for name, letters in by_topic.items() if len(letters) > 1]
        if single:
            work.append(self._publish_apart(single))
        results = await asyncio.gather(*work, return_exceptions=True)
        refused: list[list[Refusal]] = []
        for result in results:  # not before all are done: nothing may be sent after this returned
            if isinstance(result, BaseException):
                raise result
            refused.append(result)
        return refused

    async def _publish_topic(self, name: str, letters: Sequence[_Letter]) -> list[Refusal]:
        topic = self._topics.known(name)
        if topic is None or not topic.is_atomic:
            return await self._publish_apart(letters)
        refusals: list[Refusal] = []
        stopped: dict[str, str] = {}
        for batch in _batches(letters):
            rest = _without(batch, stopped, refusals)
            ack = await self._link.store_whole([letter.post for letter in rest]) if len(rest) > 1 else None
            if ack is None or ack.code:
                # One of them is to blame, or all are there already: nothing of it was kept, so each is asked for.
                refusals += await self._publish_apart(rest, stopped)
        return refusals

    async def _publish_apart(self, letters: Sequence[_Letter], stopped: dict[str, str] | None = None) -> list[Refusal]:
        """Each with a confirmation of its own, in rounds that hold one message of each key."""
        refusals: list[Refusal] = []
        stopped = {} if stopped is None else stopped
        waiting = list(letters)
        while waiting:
            sent, waiting = _one_round(waiting)
            sent = _without(sent, stopped, refusals)
            acks = await self._link.store([letter.post for letter in sent])
            for letter, ack in zip(sent, acks, strict=True):
                if ack.code:
                    refusals.append(await self._refuse(letter, ack))
                    if (lane := _lane(letter)) is not None:
                        stopped[lane] = letter.outgoing.message.id
        return refusals

    async def _refuse(self, letter: _Letter, ack: Ack) -> Refusal:
        topic, message = letter.outgoing
        if ack.code == NOBODY_LISTENS:
            try:
                await self._topics.info(topic)
            except UnknownTopicError as error:
                raise gone(topic, self._link.url) from error
            raise self._link.lost(f"the stream of topic {topic!r} has no leader now")
        return Refusal(topic, message.id, f"the server refused it: {ack.reason} ({ack.code})")


def gone(topic: str, url: str) -> DataLostError:
    """A topic that was there is not any more; nobody makes it anew in silence."""
    return DataLostError(
        f"topic {topic!r} is gone from {url}: the server lost its data, or somebody deleted its stream: restore it, or "
        "start this process again to begin anew"
    )


def _lane(letter: _Letter) -> str | None:
    topic, message = letter.outgoing
    return None if message.key is None else f"{topic}\n{message.key}"


def _batches(letters: Sequence[_Letter]) -> Iterable[list[_Letter]]:
    batch: list[_Letter] = []
    size = 0
    for letter in letters:
        if batch and (len(batch) == _MOST or size + len(letter.post.data) > _LARGEST):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += len(letter.post.data)
    if batch:
        yield batch


def _one_round(letters: Sequence[_Letter]) -> tuple[list[_Letter], list[_Letter]]:
    """The first of each key, and all without one; and what has to wait for those."""
    first: list[_Letter] = []
    rest: list[_Letter] = []
    busy: set[str] = set()
    for letter in letters:
        lane = _lane(letter)
        if len(first) == _ALONE or lane in busy:
            rest.append(letter)
        else:
            first.append(letter)
        if lane is not None:
            busy.add(lane)
    return first, rest


def _without(letters: Sequence[_Letter], stopped: dict[str, str], refusals: list[Refusal]) -> list[_Letter]:
    """Those whose key goes on; the others are refused."""
    kept: list[_Letter] = []
    for letter in letters:
        lane = _lane(letter)
        if lane is None or lane not in stopped:
            kept.append(letter)
            continue
        topic, message = letter.outgoing
        reason = f"message {stopped[lane]} of the same key was refused before it"
        refusals.append(Refusal(topic, message.id, reason, retryable=True))
    return kept


def _in_order(outgoing: Sequence[Outgoing], refusals: Sequence[Refusal]) -> list[Refusal]:
    places = {(topic, message.id): index for index, (topic, message) in enumerate(outgoing)}
    return sorted(refusals, key=lambda refusal: places[refusal.topic, refusal.message_id])
