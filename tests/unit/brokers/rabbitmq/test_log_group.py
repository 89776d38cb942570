"""Is enough of a group's course kept, and is nothing claimed of it while it is not known?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from antiphon.brokers.rabbitmq.answers import Received
from antiphon.brokers.rabbitmq.course import Mark, Place, Seat
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.log_group import LogGroup
from antiphon.brokers.rabbitmq.names import Names, course_arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.errors import ConnectionLostError, StoreCorruptError


class Shown:
    """A connection of which only its name is asked."""

    shown = "rabbitmq-streams://here"


class Channel:
    """One on which nothing is acknowledged to anybody."""

    def acknowledge_later(self, through: int) -> None:
        """Nobody is there."""


class Group(LogGroup):
    """One whose stream is here; `wrote` is what it wrote itself."""

    def __init__(self) -> None:
        super().__init__(cast(Link, Shown()), cast(Outlet, None), Names("antiphon"), "payments")
        self.watchers.add(lambda: None)
        self.wrote: list[Mark] = []
        self.lane = self._stream._lane = cast(Lane, Channel())  # pyright: ignore[reportPrivateUsage]
        self._stream.write = self._keep  # type: ignore[method-assign] # there is no server

    async def _keep(self, records: Sequence[Mark]) -> None:
        self.wrote += records

    def come(self, record: Mark | bytes, number: int) -> None:
        """The record of that number comes."""
        body = record if isinstance(record, bytes) else msgspec.json.encode(record)
        received = Received(number, {"x-stream-offset": number}, body, None, None, None)
        self._stream._on_record(self.lane, received)  # pyright: ignore[reportPrivateUsage]


def places(count: int, owner: str | None = None, epoch: int = 1) -> list[Place]:
    return [Place("a-topic-with-a-name-of-some-length", n, 10**9, epoch, owner) for n in range(count)]


@pytest.mark.parametrize("count", [1, 300, 3_000])
async def test_a_group_is_written_down_whole_before_what_it_wrote_last_time_may_be_deleted(count: int) -> None:
    group, written = Group(), 0
    kept = course_arguments()["x-max-length-bytes"]
    assert isinstance(kept, int)
    group.come(Mark("begin", places=places(count)), 0)
    for number in range(1, 2_500):
        move = Mark("move", "member-12345", places(count, "member-12345"))
        written += len(msgspec.json.encode(move))
        group.come(move, number)
        await asyncio.sleep(0)
        if group.wrote:
            break
    assert [mark.kind for mark in group.wrote] == ["whole"]
    assert written < kept / 2


async def test_nothing_counts_as_moved_while_records_are_missed_and_no_whole_has_come() -> None:
    group, seat = Group(), Seat("me", "me", ["orders"])
    group.come(Mark("join", seats=[seat]), 0)
    group.come(Mark("begin", places=[Place("orders", 0)]), 1)
    group.come(Mark("claim", "me", [Place("orders", 0)]), 2)
    move = Mark("move", "me", [Place("orders", 0, 9, 1)])
    await group.write([move])
    # Another one claimed it in what is missed.
    group.come(move, 50)
    with pytest.raises(ConnectionLostError, match="not known yet"):
        await group.write([move])
    group.come(Mark("whole", places=[Place("orders", 0, 20, 2, "another")], seats=[seat], upto=49), 51)
    await group.write([move])
    assert [(place.position, place.owner) for place in group.course.places.values()] == [(20, "another")]


async def test_records_that_are_not_ours_are_no_loss() -> None:
    group = Group()
    group.come(Mark("begin", places=[Place("orders", 0)]), 0)
    for number in (1, 2, 4, 5):
        group.come(b'{"kind": "of a later version"}', number)
    group.come(Mark("claim", "me", [Place("orders", 0)]), 7)
    await group.look()
    assert [place.owner for place in group.course.places.values()] == ["me"]


async def test_a_loss_before_a_record_that_is_not_ours_is_one() -> None:
    group = Group()
    group.come(Mark("begin", places=[Place("orders", 0)]), 0)
    group.come(b"anything", 3)
    group.come(Mark("claim", "me", [Place("orders", 0)]), 4)
    with pytest.raises(StoreCorruptError):
        await group.look()
