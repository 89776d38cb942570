"""How far is a group of a log, and who reads what? All of its members apply the same records in the same order.

The server has no place where one could compare and write. It has streams, whose order is the same for all: whoever
claims a partition or moves a watermark writes so, and whether that holds is decided where it is read back, by its
epoch. Each reader decides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
from msgspec.structs import replace

from antiphon.brokers.ports import Partition

Kind = Literal["join", "leave", "begin", "claim", "yield", "move", "seek", "whole", "look"]


class Place(msgspec.Struct, array_like=True):
    """A group's place in one partition: how many messages of it are done, and who may move it."""

    topic: str
    number: int
    position: int = 0
    epoch: int = 0
    owner: str | None = None
    skipped: int = 0

    @property
    def partition(self) -> Partition:
        return Partition(self.topic, self.number)


class Seat(msgspec.Struct, array_like=True):
    """One member: its name for people, and which topics it reads."""

    member: str
    name: str
    topics: list[str]


class Mark(msgspec.Struct, omit_defaults=True):
    """Something that a member wrote down."""

    kind: Kind
    member: str = ""
    places: list[Place] = []
    seats: list[Seat] = []
    upto: int = -1
    """Of a whole: the record after which it was written."""


class Course:
    """What holds of a group after some records."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.places: dict[Partition, Place] = {}
        self.seats: dict[str, Seat] = {}
        self.heard: dict[str, float] = {}
        """When each member was heard last, by the clock of who reads this."""

    def apply(self, mark: Mark) -> None:
        """Take in one record. What an older epoch says does not hold any more."""
        match mark.kind:
            case "join":
                self._seat(mark.seats)
            case "leave":
                self._leave(mark.member)
            case "begin":
                for place in mark.places:
                    self.places.setdefault(place.partition, replace(place))
            case "seek":
                for place in mark.places:
                    self._seek(place)
            case "claim" | "yield" | "move":
                self._change(mark)
            case _:
                pass

    def whole(self, upto: int) -> Mark:
        """All of it, for whoever comes later."""
        return Mark("whole", places=list(self.places.values()), seats=list(self.seats.values()), upto=upto)

    def begin_from(self, whole: Mark) -> None:
        """Forget what was known, and know this."""
        self.places = {place.partition: replace(place) for place in whole.places}
        self.seats.clear()
        self._seat(whole.seats)

    def hear_all(self) -> None:
        """When nobody could be heard, nobody was silent."""
        self.heard = dict.fromkeys(self.seats, self._now())

    def _seat(self, seats: Iterable[Seat]) -> None:
        for seat in seats:
            self.seats[seat.member], self.heard[seat.member] = seat, self._now()

    def _leave(self, member: str) -> None:
        self.seats.pop(member, None)
        self.heard.pop(member, None)
        for place in self.places.values():
            if place.owner == member:
                place.owner = None

    def _seek(self, wanted: Place) -> None:
        place = self.places.setdefault(wanted.partition, replace(wanted))
        place.position, place.epoch = wanted.position, place.epoch + 1

    def _change(self, mark: Mark) -> None:
        for wanted in mark.places:
            place = self.places.get(wanted.partition)
            if place is None or place.epoch != wanted.epoch:
                continue
            if mark.kind == "claim":
                place.owner, place.epoch = mark.member, place.epoch + 1
            elif place.owner == mark.member and mark.kind == "yield":
                place.owner = None
            elif place.owner == mark.member:
                place.position = max(place.position, wanted.position)
                place.skipped += wanted.skipped
