"""How are the streams of one member read ahead, without losing sight of what retention deletes meanwhile?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import cast

from antiphon.brokers.redis.appending import SMALL
from antiphon.brokers.redis.driver import Link
from antiphon.brokers.redis.envelope import to_delivery
from antiphon.brokers.redis.holdings import OwnedPartition, RedisHoldings
from antiphon.brokers.redis.places import START, is_before
from antiphon.brokers.redis.resp import Arg, Reply
from antiphon.errors import AntiphonError, BrokerError

logger = logging.getLogger("antiphon.brokers.redis")

BLOCK = 1.0
"""Seconds that the server is asked to wait for something new."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

_Entry = tuple[bytes, list[bytes]]


class Keys:
    """The keys that a reader needs."""

    def __init__(self, prefix: str, group: str, member: str) -> None:
        self._log = f"{prefix}:log:"
        self.id = f"{prefix}:id"
        self.floors = f"{prefix}:floors"
        self.largest = f"{prefix}:largest"
        self.news = f"{prefix}:news:{group}"
        self.bell = f"{prefix}:bell:{member}"

    def log(self, owned: OwnedPartition) -> str:
        return self._log + owned.lane


class Reader:
    """Reads ahead, at most as much as the last fetch asked for, on a connection of its own.

    What is read is checked in the same transaction: whether retention deleted what lies between. When there is nothing,
    it waits inside the server, where also news of the group and this member's own bell wake it.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        held: RedisHoldings,
        on_id: Callable[[Reply], None],
        on_news: Callable[[], None],
        on_read: Callable[[], None],
    ) -> None:
        self._link, self._keys, self._held, self._on_id = link, keys, held, on_id
        self._on_news, self._on_read = on_news, on_read
        self._limit, self._max_bytes = 0, 0
        self._wanted = asyncio.Event()
        self._seen = {keys.news: START, keys.bell: START}
        self.is_waiting = False
        """Whether it waits inside the server, so that only its bell reaches it."""
        self.trouble: AntiphonError | None = None
        """Why nothing can be read now."""

    def want(self, limit: int, max_bytes: int) -> None:
        """How much may be read ahead from now on."""
        self._limit, self._max_bytes = limit, max_bytes
        self._wanted.set()

    def look(self) -> None:
        """Something changed that it does not see by itself."""
        self._wanted.set()

    async def run(self) -> None:
        """Read until canceled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._step()
                self.trouble, pause = None, _FIRST_PAUSE
            except AntiphonError as error:
                self.trouble = error
            except Exception as error:
                # Nobody awaits this task, so it would end in silence.
                logger.warning("reading fails: %r", error, exc_info=error)
                self.trouble = BrokerError(f"reading fails: {error!r}")
                self.trouble.__cause__ = error
            if self.trouble is not None:
                self._on_read()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _step(self) -> None:
        self._wanted.clear()
        stock = sum(len(owned.buffer) for owned in self._held.ready())
        if stock < self._limit:
            lanes = [owned for owned in self._held.readable() if not owned.buffer]
            if await self._read(lanes):
                return
            if not stock:
                await self._wait(lanes)
                return
        await self._wanted.wait()

    async def _read(self, lanes: Sequence[OwnedPartition]) -> bool:
        """Read what is there; says whether there was anything."""
        if not lanes:
            return False
        starts = [owned.ahead for owned in lanes]
        largest = max(SMALL, *(owned.largest for owned in lanes))
        share = -(-self._limit // max(1, sum(owned.is_lively for owned in lanes)))
        count = max(1, min(share, self._max_bytes // (largest * len(lanes))))
        read: list[Arg] = ["XREAD", "COUNT", count, "STREAMS", *(self._keys.log(owned) for owned in lanes), *starts]
        floors: list[Arg] = ["HMGET", self._keys.floors, *(owned.lane for owned in lanes)]
        asked = (("GET", self._keys.id), read, floors, self._sizes_of(lanes))
        *_, done = await self._link.ask(("MULTI",), *asked, ("EXEC",))
        id, found, deleted, sizes = cast("list[Reply]", done)
        self._on_id(id)
        self.trouble = None
        _learn(lanes, sizes)
        for reply in (found, deleted):
            if isinstance(reply, Exception):
                raise BrokerError(f"reading was refused: {reply}") from reply
        by_key = {key.decode(): entries for key, entries in cast("list[tuple[bytes, list[_Entry]]]", found or [])}
        floor_of = cast("list[bytes | None]", deleted)
        for owned, start, floor in zip(lanes, starts, floor_of, strict=True):
            self._take(owned, start, by_key.get(self._keys.log(owned), ()), floor)
        if by_key:
            self._on_read()
        return bool(by_key)

    def _take(self, owned: OwnedPartition, start: str, entries: Sequence[_Entry], floor: bytes | None) -> None:
        owned.is_lively = bool(entries)
        if not self._held.is_held(owned) or owned.ahead != start:
            return
        if floor is not None and is_before(start, floor.decode()):
            owned.lose(entries[0][0].decode() if entries else "its end")
            self._on_read()
            return
        if entries:
            partition = owned.partition
            owned.buffer += [to_delivery(partition, id, fields) for id, fields in entries]
            owned.ahead = owned.buffer[-1].position
            owned.ahead_count += len(entries)

    def _sizes_of(self, lanes: Sequence[OwnedPartition]) -> list[Arg]:
        """How to ask for the largest message of each. Whoever publishes a larger one says so before."""
        return ["HMGET", self._keys.largest, "", *(owned.lane for owned in lanes)]

    async def _wait(self, lanes: Sequence[OwnedPartition]) -> None:
        """Return when there is something new in these, or news of the group, or the bell was rung, or after a while."""
        if self._wanted.is_set():
            return
        keys = [*(self._keys.log(owned) for owned in lanes), *self._seen]
        after = [*(owned.ahead for owned in lanes), *self._seen.values()]
        self.is_waiting = True
        try:
            waiting: list[Arg] = ["XREAD", "COUNT", 1, "BLOCK", int(BLOCK * 1000), "STREAMS", *keys, *after]
            found, sizes = await self._link.ask(waiting, self._sizes_of(lanes))
        finally:
            self.is_waiting = False
        _learn(lanes, sizes)
        for key, entries in cast("list[tuple[bytes, list[_Entry]]]", found or []):
            name = key.decode()
            if name in self._seen:
                self._seen[name] = entries[-1][0].decode()
                if name == self._keys.news:
                    self._on_news()


def _learn(lanes: Sequence[OwnedPartition], sizes: Reply) -> None:
    """Note how large the messages of these may be."""
    _, *found = cast("list[bytes | None]", sizes)
    for owned, size in zip(lanes, found, strict=True):
        if size is not None:
            owned.largest = max(owned.largest, int(size))
