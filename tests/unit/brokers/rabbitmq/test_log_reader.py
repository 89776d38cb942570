"""Is every number that did not come looked into, and is what is lost told when everything before it was taken?"""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from antiphon.brokers.offsets import OwnedPartition
from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq import log_reader
from antiphon.brokers.rabbitmq.driver import Lane, Link, Received, Take
from antiphon.brokers.rabbitmq.log_reader import LogReader
from antiphon.brokers.rabbitmq.peeking import Peeking


class FakeLane:
    """A channel, of which nothing goes to a server."""

    is_open = True
    starts_at = -1
    acknowledged = 0
    take: Take

    def watch(self, lost: object) -> None:
        """Nothing is lost here."""

    async def consume(self, queue: str, take: Take, prefetch: int, arguments: dict[str, int]) -> None:
        self.take, self.starts_at = take, arguments["x-stream-offset"]

    def acknowledge_later(self, through: int) -> None:
        self.acknowledged = through

    async def close(self) -> None:
        self.is_open = False


class FakeLink:
    """A connection whose channels are those above."""

    is_up = True

    def __init__(self) -> None:
        self.lanes: list[FakeLane] = []

    async def lane(self) -> Lane:
        self.lanes.append(FakeLane())
        return cast(Lane, self.lanes[-1])


class Kept(Peeking):
    """Where the stream begins now; None where it reads as empty. `asked` counts who looked."""

    def __init__(self, at: int | None) -> None:
        self.at, self.asked = at, 0

    async def first(self, stream: str) -> int | None:
        self.asked += 1
        return self.at


class Reading:
    """A reader, and the server that hands it messages."""

    def __init__(self, at: int = 0) -> None:
        self.owned, self.link = OwnedPartition(Partition("orders", 0), 0, 1, at), FakeLink()
        self.rung = asyncio.Event()
        self.reader = LogReader(self.owned, "orders/0", 100, self.rung.set)

    async def open(self) -> None:
        await self.reader.open(cast(Link, self.link))

    def come(self, *offsets: int) -> None:
        for offset in offsets:
            self.link.lanes[-1].take(Received(offset, {"x-stream-offset": offset}, b"x", None, None, None))

    def taken(self) -> list[int]:
        """The numbers of all that may be taken."""
        return [position - 1 for position, _ in self.reader.take(100, 1_000, has_any=False)]


@pytest.fixture
async def reading() -> Reading:
    reading = Reading()
    await reading.open()
    return reading


async def test_one_number_that_does_not_come_is_the_servers_own(reading: Reading) -> None:
    kept = Kept(9)
    reading.come(0, 1, 3, 4, 6)
    await reading.reader.look_into(kept)
    assert reading.taken() == [0, 1, 3, 4, 6]
    assert (kept.asked, reading.owned.is_lost) == (0, False)


async def test_what_comes_behind_more_waits_until_it_is_known_what_became_of_it(reading: Reading) -> None:
    reading.come(0, 1, 4, 5)
    assert reading.taken() == [0, 1]
    assert reading.taken() == []
    await reading.reader.look_into(Kept(0))
    assert reading.taken() == [4, 5]
    assert not reading.owned.is_lost


async def test_what_is_lost_is_told_once_everything_before_it_was_taken(reading: Reading) -> None:
    reading.come(0, 1, 8, 9)
    await reading.reader.look_into(Kept(8))
    assert not reading.owned.is_lost
    assert reading.taken() == [0, 1]
    assert (reading.owned.is_lost, reading.owned.read, reading.owned.floor) == (True, 2, 8)


async def test_what_is_lost_at_the_beginning_is_told_at_once() -> None:
    reading = Reading(at=5)
    await reading.open()
    reading.come(8)
    await reading.reader.look_into(Kept(8))
    assert (reading.owned.is_lost, reading.owned.read, reading.owned.floor) == (True, 5, 8)


async def test_a_second_loss_is_told_after_the_first(reading: Reading) -> None:
    reading.come(0, 8, 9, 20)
    await reading.reader.look_into(Kept(20))
    assert reading.taken() == [0]
    reading.owned.read = reading.owned.floor
    assert reading.taken() == [8, 9]
    assert (reading.owned.is_lost, reading.owned.floor) == (True, 20)
    reading.owned.read = reading.owned.floor
    assert reading.taken() == [20]
    assert not reading.owned.is_lost


async def test_what_goes_missing_while_another_gap_is_looked_into_is_looked_into_as_well(reading: Reading) -> None:
    class Meanwhile(Kept):
        async def first(self, stream: str) -> int | None:
            reading.come(30)
            return await super().first(stream)

    reading.come(0, 5, 6)
    await reading.reader.look_into(Meanwhile(0))
    assert reading.taken() == [0, 5, 6]
    assert not reading.owned.is_lost
    await reading.reader.look_into(Kept(30))
    assert (reading.owned.is_lost, reading.owned.floor) == (True, 30)


async def test_a_stream_that_reads_as_empty_is_a_loss_but_not_at_the_first_look(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "DOUBT", 0.05)
    reading.come(0, 8)
    empty = Kept(None)
    reading.rung.clear()
    await reading.reader.look_into(empty)
    assert reading.taken() == [0]
    assert not reading.owned.is_lost
    async with asyncio.timeout(5):
        await reading.rung.wait()
    await reading.reader.look_into(empty)
    assert (reading.owned.is_lost, reading.owned.floor) == (True, 8)


async def test_a_reader_to_whom_nothing_comes_is_begun_anew_where_it_stood(reading: Reading) -> None:
    reader, long = reading.reader, log_reader.SILENCE
    reading.come(0, 1)
    assert not any(reader.is_silent(now) for now in (0.0, long, 2 * long))
    reading.taken()
    assert not reader.is_silent(3 * long - 1)
    assert reader.is_silent(3 * long)
    await reading.open()
    assert [(lane.is_open, lane.starts_at) for lane in reading.link.lanes] == [(False, 0), (True, 2)]
    assert not reader.is_silent(3 * long)
    reading.link.lanes[0].take(Received(3, {"x-stream-offset": 2}, b"x", None, None, None))
    reading.come(2)
    assert reading.taken() == [2]
