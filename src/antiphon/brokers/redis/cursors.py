"""Where does a group stand, and how is that written?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from antiphon.brokers.ports import Partition
from antiphon.brokers.redis.places import partition_of
from antiphon.brokers.redis.resp import Reply, texts


class Cursor(NamedTuple):
    """A group's place in a partition, how many entries lie before it, who may move it, and how many were missed."""

    position: str
    entries: int
    epoch: int
    missed: int
    owner: str | None


class Ends(NamedTuple):
    """A stream's last id, how many entries it ever had and has, the first, and the last that retention deleted."""

    last: str
    added: int
    held: int
    first: str | None
    floor: str

    @property
    def deleted(self) -> int:
        """How many entries are there no more."""
        return self.added - self.held


class MemberRow(NamedTuple):
    """Who reads, since when nothing was heard of it (in milliseconds of the server's), and how it is described."""

    id: str
    heard: int
    description: bytes


def cursor_of(text: bytes) -> Cursor:
    position, count, epoch, missed, owner = text.decode().split(" ", 4)
    return Cursor(position, int(count), int(epoch), int(missed), None if owner == "-" else owner)


def cursors_of(reply: Reply) -> dict[Partition, Cursor]:
    """The cursors of a group, from its hash."""
    return {partition_of(lane.decode()): cursor_of(text) for lane, text in pairs(reply)}


def members_of(reply: Reply) -> list[MemberRow]:
    """The members of a group, from its hash."""
    found: list[MemberRow] = []
    for id, text in pairs(reply):
        heard, _, description = text.partition(b" ")
        found.append(MemberRow(id.decode(), int(heard), description))
    return found


def ends_of(reply: Reply) -> Ends:
    """What `ends` of the programs returns."""
    last, added, held, first, floor = texts(cast("Sequence[object]", reply)[:5])
    return Ends(last, int(added), int(held), None if first == "-" else first, floor)


def pairs(reply: Reply) -> Sequence[tuple[bytes, bytes]]:
    """A hash."""
    flat = cast("list[bytes]", reply)
    return list(zip(flat[::2], flat[1::2], strict=True))


Cursors = Mapping[Partition, Cursor]
