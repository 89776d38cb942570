"""How are partitions read ahead, each by a consumer of its own that the server forgets when nobody asks it?

The server hands over what was asked for, in order, and keeps no account of it: how far a group is, its place says. Of
each partition one request is out at a time; the next one goes out when it is served, as long as there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from uuid import uuid4

import msgspec
from msgspec import convert

from antiphon.brokers.nats.calls import STREAM_MISSING, Arrived, RefusedError, status_of
from antiphon.brokers.nats.envelope import moment_of, unpack
from antiphon.brokers.nats.link import Link, Listening
from antiphon.brokers.nats.publishing import gone
from antiphon.brokers.nats.table import Cursor
from antiphon.brokers.nats.topics import Topic
from antiphon.brokers.ports import Delivery, Partition
from antiphon.errors import BrokerError, ConnectionLostError

_CHUNK = 256
"""Messages of one request; twice as many of a partition are held at most."""
_HELD = 32 << 20
"""Bytes that all requests of a subscription may bring at once, though each may bring one message of any size."""
_EXPIRES, _SILENCE = 20.0, 10.0
"""Seconds after which a request ends by itself, and after which more the server is taken to have forgotten it."""
_FORGET = 5 * 60
"""Seconds without a request after which the server forgets a consumer."""
_NANO = 1_000_000_000
_GO_ON = ("message size", "maxbytes", "batch completed")
_json = msgspec.json.Encoder()

_Item = tuple[int, int, Arrived]
"""Place in the stream, nanoseconds since 1970, and the message."""


class Owned:
    """A partition that this member reads: how far it was handed out, and how far the group is done with it."""

    def __init__(self, topic: Topic, cursor: Cursor, revision: int) -> None:
        self.topic, self.partition = topic, cursor.partition
        self.subject = topic.subjects[cursor.number]
        self.cursor, self.revision = cursor, revision
        self.read = cursor.position
        self.mark = max(cursor.position, cursor.seen)
        """Whatever the partition had up to here was received."""
        self.floor = 0
        self.gap: int | None = None
        """Nothing behind this place is handed out before it is known what is missing there."""
        self.suspected = self.missing = self.missing_places = 0
        """Messages that seem to be gone, and that are; and places of the stream, nobody knows whose."""
        self.left: int | None = None
        """How many more there were when the last one was received."""
        self.is_released = False
        self.is_paused = False
        self.leave_by: float | None = None
        """When it is given up at the latest, in the loop's time; None while it is ours to keep."""
        self.buffer: deque[_Item] = deque()
        self.consumer = ""
        self.next_place = 1
        self.received = self.read
        self.request = self.outstanding = 0
        self.asked = self.waits_since = 0.0
        self.serial = 0
        self.is_asking = False
        """Whether a request was out all the time since the last message came."""

    @property
    def epoch(self) -> int:
        return self.cursor.epoch

    @property
    def done(self) -> int:
        return self.cursor.position

    @property
    def is_drained(self) -> bool:
        """Whether everything handed out is done."""
        return self.done >= self.read

    @property
    def is_lost(self) -> bool:
        """Whether retention deleted what may have been unread."""
        return self.missing + self.missing_places > 0

    @property
    def has_more(self) -> bool:
        """Whether something is there that may be handed out: with a gap, only what came before it."""
        return bool(self.buffer) and (self.gap is None or self.buffer[0][0] <= self.gap)

    def count(self, left: int, *, taken: int) -> bool:
        """Note how many there are still, after `taken` of them; whether fewer are left than can be."""
        missing = 0 if self.left is None else self.left - taken - left
        self.left = left
        if missing > 0:
            self.gap = self.received if self.gap is None else self.gap
            self.suspected += missing
        return missing > 0

    def lose(self, floor: int) -> None:
        """Retention has deleted everything up to `floor`, and nobody knows what of that was unread."""
        places = floor - max(self.mark, self.read)
        if places > 0:
            self.gap = self.mark if self.gap is None else self.gap
            self.missing_places += places

    def close_gap(self) -> None:
        """What was missing is accounted for, or was not missing."""
        self.gap = None
        self.suspected = self.missing = self.missing_places = 0

    def begin_anew(self) -> None:
        """Ask again for what is not there yet, of another consumer."""
        self.consumer = ""
        self.received = self.buffer[-1][0] if self.buffer else self.read
        self.outstanding = 0
        self.waits_since, self.is_asking = 0.0, False

    def go_to(self, position: int) -> None:
        """Go on behind `position`."""
        self.buffer.clear()
        self.read = position
        self.mark = max(self.mark, position)
        self.left = None
        self.close_gap()
        self.begin_anew()


class Reader:
    """Reads ahead for one subscription. `ring` is set when something came; `on_gap` is called when some seem gone."""

    def __init__(self, link: Link, group: str, ring: asyncio.Event, on_gap: Callable[[], None]) -> None:
        self._link, self._ring, self._on_gap = link, ring, on_gap
        self._inbox = link.new_inbox()
        self._name = f"antiphon-{uuid4().hex[:12]}"
        self._metadata = {"antiphon.group": group}
        self._serials = count(1)
        self._listening: Listening | None = None
        self._by_subject: dict[str, Owned] = {}
        self._by_serial: dict[str, Owned] = {}

    async def start(self) -> None:
        self._listening = await self._link.listen(f"{self._inbox}.*.*", self._arrive)

    async def stop(self) -> None:
        """Twice is safe."""
        self._by_subject.clear()
        self._by_serial.clear()
        if self._listening is not None:
            await self._listening.stop()

    async def read_on(self, wanted: Sequence[Owned]) -> None:
        """See to it that each of these is asked for. Raises ConnectionLostError, BrokerError."""
        now = asyncio.get_running_loop().time()
        for owned in wanted:
            if owned.outstanding and now - owned.asked > _EXPIRES + _SILENCE:
                owned.begin_anew()
        if missing := [owned for owned in wanted if not owned.consumer]:
            await asyncio.gather(*(self._consume(owned) for owned in missing))
        for owned in wanted:
            if owned.consumer and not owned.outstanding and len(owned.buffer) <= _CHUNK:
                await self._pull(owned)

    def release(self, owned: Owned) -> None:
        """Hold nothing more of it."""
        owned.is_released = True
        owned.begin_anew()
        if self._by_subject.get(owned.subject) is owned:
            del self._by_subject[owned.subject]
        self._by_serial.pop(str(owned.serial), None)

    def begin_anew(self) -> None:
        """The connection was another meanwhile, and nobody knows what came of the requests."""
        for owned in self._by_subject.values():
            owned.begin_anew()
        self._ring.set()

    async def _consume(self, owned: Owned) -> None:
        self._by_serial.pop(str(owned.serial), None)
        owned.serial = next(self._serials)
        name, stream = f"{self._name}-{owned.serial}", owned.topic.stream
        config: dict[str, object] = {
            "name": name,
            "filter_subject": owned.subject,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": owned.received + 1,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _FORGET * _NANO,
            "metadata": self._metadata,
        }
        body = {"stream_name": stream, "config": config}
        try:
            answer = await self._link.ask(f"CONSUMER.CREATE.{stream}.{name}.{owned.subject}", body)
        except RefusedError as error:
            if error.code == STREAM_MISSING:
                raise gone(owned.topic.name, self._link.url) from error
            raise BrokerError(f"{_name(owned.partition)} of {self._link.url} cannot be read: {error}") from error
        if owned.is_released:
            return  # the server forgets the consumer
        if owned.count(convert(answer.get("num_pending", 0), int), taken=0):
            self._on_gap()
        owned.consumer, owned.next_place = name, 1
        self._by_subject[owned.subject] = owned
        self._by_serial[str(owned.serial)] = owned

    async def _pull(self, owned: Owned) -> None:
        largest = max(_HELD // max(1, len(self._by_subject)), self._link.max_payload + 4096)
        owned.request += 1
        owned.outstanding = _CHUNK
        owned.asked = asyncio.get_running_loop().time()
        owned.waits_since = owned.waits_since or owned.asked
        body = {"batch": _CHUNK, "max_bytes": largest, "expires": int(_EXPIRES * _NANO)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{owned.topic.stream}.{owned.consumer}"
        try:
            await self._link.send(subject, _json.encode(body), f"{self._inbox}.{owned.serial}.{owned.request}")
        except BaseException:
            owned.begin_anew()
            raise

    async def _arrive(self, message: Arrived) -> None:
        owned = self._by_subject.get(message.subject)
        fields = message.reply.split(".")
        if owned is None or len(fields) < 9:
            await self._conclude(message)
            return
        # Between domains there are two fields more.
        consumer, _, place, number, stored, pending = fields[3:9] if len(fields) == 9 else fields[5:11]
        if consumer != owned.consumer:
            return
        if int(number) != owned.next_place:  # one before it was lost on its way
            owned.begin_anew()
            self._ring.set()
            return
        owned.next_place += 1
        at = int(place)
        if owned.left == 0 and owned.is_asking and owned.mark >= owned.received:
            owned.mark = at  # the server was being asked, and had nothing until this one
        owned.is_asking = True
        if owned.count(int(pending), taken=1):
            self._on_gap()
        owned.received = at
        owned.buffer.append((at, int(stored), message))
        owned.outstanding -= 1
        self._ring.set()
        if not owned.outstanding:
            await self._pull_again(owned)

    async def _conclude(self, message: Arrived) -> None:
        """A request is over, before it was served in full."""
        status = status_of(message)
        if not status:
            return  # of a partition that is not read any more
        _, serial, request = message.subject.rsplit(".", 2)
        owned = self._by_serial.get(serial)
        if owned is None or request != str(owned.request):
            return
        text = (message.headers or {}).get("Description", "").lower()
        if status in ("404", "408") or any(each in text for each in _GO_ON):
            owned.outstanding = 0
            await self._pull_again(owned)
        elif status != "100":
            owned.begin_anew()
        self._ring.set()

    async def _pull_again(self, owned: Owned) -> None:
        if owned.is_paused or owned.leave_by is not None or len(owned.buffer) > _CHUNK:
            owned.waits_since, owned.is_asking = 0.0, False
            return
        with suppress(ConnectionLostError):  # whoever fetches asks again, and hears of it
            await self._pull(owned)


def take(ready: Iterable[Owned], limit: int, max_bytes: int) -> list[Delivery]:
    """Up to `limit` deliveries of together some `max_bytes`, though at least one, from all that are ready in turn."""
    deliveries: list[Delivery] = []
    by_backlog = sorted(list(ready)[:limit], key=lambda owned: len(owned.buffer))
    for index, owned in enumerate(by_backlog):
        share = -(-(limit - len(deliveries)) // (len(by_backlog) - index))
        max_bytes -= _take_from(owned, deliveries, share, max_bytes // (len(by_backlog) - index))
    return deliveries


def _take_from(owned: Owned, deliveries: list[Delivery], count: int, max_bytes: int) -> int:
    """Append up to `count` of this one; returns their bytes."""
    buffer, partition, size = owned.buffer, owned.partition, 0
    for _ in range(min(count, len(buffer))):
        place, stored, message = buffer[0]
        if (size + len(message.data) > max_bytes and deliveries) or (owned.gap is not None and place > owned.gap):
            break
        buffer.popleft()
        size += len(message.data)
        deliveries.append(unpack(partition, place, message.headers, message.data, moment_of(stored)))
        owned.read = place
    return size


def names(partitions: Iterable[Partition]) -> str:
    return ", ".join(map(_name, partitions))


def _name(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number}"
