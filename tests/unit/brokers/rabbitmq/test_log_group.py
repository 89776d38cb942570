"""Is enough of a group's course kept, and is nothing claimed of it while it is not known?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from antiphon.brokers.rabbitmq.course import Mark, Place, Seat
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.log_group import LogGroup
from antiphon.brokers.rabbitmq.names import Names, course_arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.errors import ConnectionLostError


class Shown:
    """A connection of which only its name is asked."""

    shown = "rabbitmq-streams://here"


class Group(LogGroup):
    """One whose stream is here; `wrote` is what it wrote itself."""

    def __init__(self) -> None:
        super().__init__(cast(Link, Shown()), cast(Outlet, None), Names("antiphon"), "payments")
        self.watchers.add(lambda: None)
        self.wrote: list[Mark] = []
        self._stream.write = self._keep  # type: ignore[method-assign] # there is no server

    async def _keep(self, records: Sequence[Mark]) -> None:
        self.wrote += records

    def come(self, mark: Mark, number: int) -> None:
        """The record of that number comes."""
        self._stream._next = number + 1  # pyright: ignore[reportPrivateUsage]
        self._take(mark)


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
