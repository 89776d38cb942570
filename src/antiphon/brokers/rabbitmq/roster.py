"""Who reads in a group, and which partitions? Its members tell each other, each through a queue of its own.

What they say only shares out the work: that no two read one partition at once is the server's doing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal
from uuid import uuid4

import msgspec

from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.codec import Plain, route
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.events.clock import Clock

logger = logging.getLogger("antiphon.brokers.rabbitmq")
_encode = msgspec.json.Encoder().encode


class Share(msgspec.Struct):
    """A partition that a member reads, how many of its messages it has, and where the first of them lies."""

    topic: str
    number: int
    held: int = 0
    oldest: str | None = None


class Word(msgspec.Struct):
    """What one member says. `ask` wants an answer at `queue`, as `hello` does."""

    kind: Literal["hello", "beat", "bye", "ask"]
    id: str
    queue: str
    topics: list[str] = []
    shares: list[Share] = []
    is_able: bool = True


_decode = msgspec.json.Decoder(Word).decode


class Peer(msgspec.Struct):
    """Another member, as it was last heard."""

    word: Word
    heard: datetime


class Roster:
    """The other members of a group. `word` says what there is to say of this one."""

    def __init__(
        self, link: Link, outlet: Outlet, names: Names, group: str, word: Callable[[], Word], clock: Clock,
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self.peers: dict[str, Peer] = {}
        self._link, self._outlet, self._names, self._group = link, outlet, names, group
        self._word, self._clock, self._changed = word, clock, changed
        self._lane: Lane | None = None
        self._owed: set[str] = set()
        """Queues of those who asked and got no answer yet."""

    @property
    def is_open(self) -> bool:
        return self._lane is not None and self._lane.is_open

    @property
    def owes(self) -> bool:
        return bool(self._owed)

    async def open(self) -> str:
        """Have a queue of one's own, and be reached by everybody; returns its name."""
        lane = await self._link.lane()
        queue = self._names.member(uuid4().hex)
        self.peers.clear()
        await lane.declare_queue(queue, {}, exclusive=True)
        await lane.declare_exchange(self._names.group(self._group), "fanout")
        await lane.bind(queue, self._names.group(self._group), "")
        await lane.consume(queue, self._on_word, 0)
        self._lane = lane
        return queue

    async def hello(self) -> None:
        """Tell everybody; they answer."""
        word = self._word()
        word.kind = "hello"
        await self._send([(self._names.group(self._group), "", word)])

    async def beat(self) -> None:
        """Tell those who are known, and learn who of them is gone."""
        owed, self._owed = self._owed, set()
        word = self._word()
        peers = list(self.peers.items())
        queues = [peer.word.queue for _, peer in peers]
        strangers = [queue for queue in owed if queue not in queues]
        refused = await self._send([("", queue, word) for queue in (*queues, *strangers)])
        for index, (id, peer) in enumerate(peers):
            if index in refused and self.peers.get(id) is peer:
                del self.peers[id]
                self._changed()

    async def bye(self) -> None:
        word = self._word()
        word.kind, word.shares = "bye", []
        await self._send([("", peer.word.queue, word) for peer in self.peers.values()])

    async def close(self) -> None:
        if self._lane is not None:
            await self._lane.close()

    async def _send(self, words: Sequence[tuple[str, str, Word]]) -> Iterable[int]:
        return await self._outlet.send([Plain(route(exchange, key), _encode(word)) for exchange, key, word in words])

    def _on_word(self, received: Received) -> None:
        if self._lane is not None:
            self._lane.acknowledge_later(received.tag)
        try:
            word = _decode(received.body)
        except msgspec.DecodeError as error:
            logger.warning("what a member of group %r says is not understood: %s", self._group, error)
            return
        if word.id == self._word().id:
            return
        if word.kind in ("hello", "ask"):
            self._owed.add(word.queue)
        if word.kind == "ask":
            self._changed()
            return
        before = self.peers.pop(word.id, None)
        if word.kind != "bye":
            self.peers[word.id] = Peer(word, self._clock.now())
        if before is None or word.kind != "beat" or _differs(before.word, word):
            self._changed()


def _differs(before: Word, after: Word) -> bool:
    return (before.topics, before.is_able, _owned(before)) != (after.topics, after.is_able, _owned(after))


def _owned(word: Word) -> set[Partition]:
    return {Partition(share.topic, share.number) for share in word.shares}
