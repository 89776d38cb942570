"""How does a group stand in a partition, and how is that written on the cluster?

A group's committed offset is the cluster's own, so that every tool reads it. Beside it Kafka keeps a text: there
stand the token of the last seek that the group has followed, and how many messages it missed.

Kafka moves no group that has members. So a seek is a command: the offset and a token, committed for a second group
whose name ends in `.antiphon-seeks`, and which never has members. Until a commit of the group carries that token, the
group stands where the command says, and whatever is committed without it is void.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from antiphon.brokers.kafka.client import Committed
from antiphon.brokers.ports import Partition
from antiphon.errors import UsageError

SEEKS = ".antiphon-seeks"
DONE = Committed(0, "")
"""What takes the place of a command that was followed."""
_METADATA = re.compile(r"(?:seek=(\w+))? ?(?:skipped=(\d+))?")


class Place(NamedTuple):
    """Where a group goes on in a partition, which seek brought it there, and how many messages it missed before."""

    offset: int
    token: str = ""
    skipped: int = 0

    def committed(self) -> Committed:
        """As it is committed."""
        words = [f"seek={self.token}"] if self.token else []
        words += [f"skipped={self.skipped}"] if self.skipped else []
        return Committed(self.offset, " ".join(words))


def place_of(committed: Committed) -> Place:
    """What a commit says, be it ours or of any other client."""
    found = _METADATA.fullmatch(committed.metadata)
    if found is None:
        return Place(committed.offset)
    return Place(committed.offset, found[1] or "", int(found[2] or 0))


def standing(
    committed: Mapping[Partition, Committed], commands: Mapping[Partition, Committed]
) -> dict[Partition, Place]:
    """Where a group stands. Commands must be read before commits, or one that is just being followed is missed."""
    places = {partition: place_of(each) for partition, each in committed.items()}
    for partition, command in commands.items():
        known = places.get(partition)
        if command.metadata and (known is None or known.token != command.metadata):
            places[partition] = Place(command.offset, command.metadata, 0 if known is None else known.skipped)
    return places


def position(offset: int) -> str:
    """What is called done when `offset` comes next."""
    return str(offset - 1)


def offset_of(position: str) -> int:
    """The offset that a position names. Raises UsageError for what is no position of Kafka's."""
    try:
        offset = int(position)
    except ValueError:
        offset = -2
    if offset < -1:
        raise UsageError(f"{position!r} is no position on Kafka: positions are offsets, and -1 is before the first")
    return offset
