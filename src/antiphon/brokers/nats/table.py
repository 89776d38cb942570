"""What groups keep on the server: a bucket of keys with a member, or a place and its lease, each.

Whoever changes a place names the revision that it knows, so that of two only one does. A lease and the place that it
guards are one key: nobody moves what another has taken over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from antiphon.brokers.nats.calls import STREAM_MISSING, WRONG_SEQUENCE, Ack, Arrived, Post, RefusedError
from antiphon.brokers.nats.link import Link
from antiphon.brokers.nats.names import token
from antiphon.brokers.nats.topics import Topic, refuse_dropped
from antiphon.brokers.ports import Partition
from antiphon.errors import BrokerError, DataLostError

_IN_USE = 10058
_AT_ONCE = 900
"""Keys of one read; the server gives no more than 1024."""
_EXPECT = "Nats-Expected-Last-Subject-Sequence"
T = TypeVar("T")


class Cursor(Struct, frozen=True, kw_only=True):
    """A group's place in one partition, and who may move it."""

    group: str
    topic: str
    number: int
    position: int = 0
    seen: int = 0
    """Nothing of the partition between `position` and here was unread when somebody last looked."""
    skipped: int = 0
    owner: str | None = None
    epoch: int = 0
    stream: str = ""
    """When the stream was made in which the position is one."""

    @property
    def partition(self) -> Partition:
        return Partition(self.topic, self.number)


class Seat(Struct, frozen=True, kw_only=True):
    """A member of a group."""

    group: str
    name: str
    topics: list[str]


class Kept(NamedTuple, Generic[T]):
    """What a key holds, and its revision."""

    value: T
    revision: int


class Standing(NamedTuple):
    """What is written of a group."""

    cursors: dict[Partition, Kept[Cursor]]
    members: dict[str, Kept[Seat]]


class _Found(NamedTuple):
    name: str
    data: bytes
    revision: int


_cursor = msgspec.json.Decoder(Cursor)
_seat = msgspec.json.Decoder(Seat)
_encoder = msgspec.json.Encoder()


class Table:
    """The bucket, `KV_<name>` among the streams."""

    def __init__(self, link: Link, name: str, replicas: int) -> None:
        self._link, self._replicas = link, replicas
        self.name, self._stream = name, f"KV_{name}"
        self._start = f"$KV.{name}."
        self._is_there = False

    async def make(self) -> None:
        """Make the bucket where there is none. What this process once knew is not made again."""
        if self._is_there:
            return
        wanted: dict[str, object] = {
            "name": self._stream,
            "subjects": [f"{self._start}>"],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "discard": "new",
            "storage": "file",
            "num_replicas": self._replicas,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
        }
        try:
            answer = await self._link.ask(f"STREAM.CREATE.{self._stream}", wanted)
        except RefusedError as error:
            if error.code != _IN_USE:
                raise BrokerError(f"bucket {self.name} cannot be made on {self._link.url}: {error}") from error
            answer = await self._link.ask(f"STREAM.INFO.{self._stream}")
            wanted = {key: wanted[key] for key in ("subjects", "max_msgs_per_subject", "allow_direct")}
        await refuse_dropped(self._link, wanted, answer)
        self._is_there = True

    async def read(self, group: str, topics: Sequence[Topic]) -> Standing:
        """What is written of the group in these topics. Raises DataLostError when the bucket is gone."""
        start = f"{self._start}{token(group)}"
        found = await self._find([f"{start}.m.*"])
        filters: list[str] = []
        partitions = 0
        for topic in topics:
            if partitions + topic.partitions > _AT_ONCE:
                found += await self._find(filters)
                filters, partitions = [], 0
            filters.append(f"{start}.c.{token(topic.name)}.*")
            partitions += topic.partitions
        if filters:
            found += await self._find(filters)
        return _standing(found)

    async def read_all(self, group: str) -> Standing:
        """As `read`, in every topic that the group has a place in; empty where nobody knows the group."""
        start = f"{self._start}{token(group)}"
        subjects = await self._subjects(f"{start}.c.>")
        found: list[_Found] = []
        for first in range(0, len(subjects), _AT_ONCE):
            found += await self._find(subjects[first : first + _AT_ONCE])
        return _standing(found + await self._find([f"{start}.m.*"]) if subjects else [])

    async def groups(self) -> list[str]:
        """The names of all groups that have a place anywhere."""
        first = {subject.split(".")[2]: subject for subject in await self._subjects(f"{self._start}*.c.>")}
        subjects = list(first.values())
        found: list[_Found] = []
        for start in range(0, len(subjects), _AT_ONCE):
            found += await self._find(subjects[start : start + _AT_ONCE])
        return sorted(_cursor.decode(each.data).group for each in found)

    async def write(self, changes: Sequence[Kept[Cursor]]) -> list[Ack]:
        """Write each of these whose key still has that revision; 0 is that of one that is not there.

        The acks say which were written, and as which revision. Raises BrokerError when one fails for another reason.
        """
        posts = [
            Post(self._cursor_key(cursor), _encoder.encode(cursor), {_EXPECT: str(revision)})
            for cursor, revision in changes
        ]
        acks = await self._link.store(posts)
        for ack in acks:
            if ack.code and ack.code != WRONG_SEQUENCE:
                raise await self._unwritten(ack)
        return acks

    async def enter(self, id: str, seat: Seat) -> None:
        """Write down that this member lives."""
        (ack,) = await self._link.store([Post(self._member_key(seat.group, id), _encoder.encode(seat))])
        if ack.code:
            raise await self._unwritten(ack)

    async def leave(self, group: str, id: str) -> None:
        """Forget a member."""
        await self._ask(f"STREAM.PURGE.{self._stream}", {"filter": self._member_key(group, id)})

    def bell_of(self, group: str) -> str:
        """The subject at which the members of a group tell each other to look."""
        return f"$ANTIPHON.{self.name}.{token(group)}"

    async def ring(self, group: str, by: str = "") -> None:
        """Let the members of the group look at once. Nothing is lost when it is not heard: they look by themselves."""
        await self._link.send(self.bell_of(group), by.encode())

    def _cursor_key(self, cursor: Cursor) -> str:
        return f"{self._start}{token(cursor.group)}.c.{token(cursor.topic)}.{cursor.number}"

    def _member_key(self, group: str, id: str) -> str:
        return f"{self._start}{token(group)}.m.{id}"

    async def _find(self, filters: Sequence[str]) -> list[_Found]:
        try:
            messages = await self._link.read(self._stream, {"multi_last": list(filters)})
        except RefusedError as error:
            if error.code == STREAM_MISSING and not self._is_there:
                return []
            raise self._gone(error) from error
        return [_found(message) for message in messages if "KV-Operation" not in (message.headers or {})]

    async def _subjects(self, filter: str) -> list[str]:
        try:
            answer = await self._link.ask(f"STREAM.INFO.{self._stream}", {"subjects_filter": filter})
        except RefusedError as error:
            if error.code == STREAM_MISSING and not self._is_there:
                return []
            raise self._gone(error) from error
        return sorted(msgspec.convert(answer, _Info).state.subjects or {})

    async def _ask(self, name: str, body: Mapping[str, object]) -> None:
        try:
            await self._link.ask(name, body)
        except RefusedError as error:
            raise self._gone(error) from error

    async def _unwritten(self, ack: Ack) -> BrokerError:
        await self._subjects(f"{self._start}none")  # says so when the bucket is gone
        if ack.code < 0:
            return self._link.lost(f"bucket {self.name} cannot be written now")
        return BrokerError(f"{self._link.url} refused to write into bucket {self.name}: {ack.reason} ({ack.code})")

    def _gone(self, error: RefusedError) -> BrokerError | DataLostError:
        if error.code != STREAM_MISSING:
            return BrokerError(f"bucket {self.name} of {self._link.url} cannot be used: {error}")
        return DataLostError(
            f"bucket {self.name}, where groups keep their positions, is gone from {self._link.url}: the server lost "
            "its data, or somebody deleted it: restore it, or start this process again and seek its groups"
        )


class _SubjectCounts(Struct):
    subjects: dict[str, int] | None = None


class _Info(Struct):
    state: _SubjectCounts


def _found(message: Arrived) -> _Found:
    headers = message.headers or {}
    return _Found(headers["Nats-Subject"], message.data, int(headers["Nats-Sequence"]))


def _standing(found: Sequence[_Found]) -> Standing:
    cursors: dict[Partition, Kept[Cursor]] = {}
    members: dict[str, Kept[Seat]] = {}
    for name, data, revision in found:
        kind, last = name.split(".")[3:5]
        if kind == "m":
            members[last] = Kept(_seat.decode(data), revision)
        else:
            cursor = _cursor.decode(data)
            cursors[cursor.partition] = Kept(cursor, revision)
    return Standing(cursors, members)
