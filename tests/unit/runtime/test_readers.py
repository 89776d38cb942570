"""Who reads a topic is looked up once for all who ask, and what a broker cannot say is not guessed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

from antiphon.brokers.ports import Lag, Partition
from antiphon.errors import ConnectionLostError
from antiphon.runtime import readers as room
from antiphon.runtime.readers import Readers
from antiphon.testing.clock import VirtualClock


def a_lag(group: str, topic: str, owner: str | None) -> Lag:
    return Lag(group, Partition(topic, 0), "0", "0", 0, timedelta(), owner)


class Broker:
    """Counts how often it is looked at."""

    def __init__(self, *lags: Lag, error: Exception | None = None) -> None:
        self.lags, self.error, self.looks = lags, error, 0
        self.asked: list[str] = []

    async def groups(self):
        self.looks += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return list(dict.fromkeys(lag.group for lag in self.lags))

    async def lag(self, group):
        self.asked.append(group)
        return [lag for lag in self.lags if lag.group == group]


async def test_only_members_that_own_a_partition_of_the_topic_count():
    broker = Broker(
        a_lag("pricing", "questions", "m-1"), a_lag("gone", "questions", None), a_lag("other", "orders", "m-2")
    )
    assert await Readers(broker, VirtualClock()).of("questions") == ["pricing"]
    assert await Readers(broker, VirtualClock()).of("quotes") == ()


async def test_many_who_ask_at_once_cost_one_look_a_second():
    broker, clock = Broker(a_lag("pricing", "questions", "m-1")), VirtualClock()
    readers = Readers(broker, clock)
    await asyncio.gather(*(readers.of("questions") for _ in range(100)))
    assert broker.looks == 1
    await clock.advance(timedelta(seconds=2))
    await readers.of("questions")
    assert broker.looks == 2


async def test_who_gives_up_does_not_end_the_look_of_the_others():
    broker = Broker(a_lag("pricing", "questions", "m-1"))
    readers = Readers(broker, VirtualClock())
    first, second = (asyncio.create_task(readers.of("questions")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ["pricing"]


async def test_a_broker_that_cannot_be_asked_says_nothing():
    assert await Readers(Broker(error=ConnectionLostError("away")), VirtualClock()).of("questions") is None


async def test_a_broker_that_takes_too_long_says_nothing(monkeypatch):
    monkeypatch.setattr(room, "LONGEST_LOOK", 0.0)
    broker = SimpleNamespace(groups=asyncio.Event().wait)
    assert await Readers(broker, VirtualClock()).of("questions") is None


async def test_the_groups_of_askers_are_left_out():
    broker = Broker(a_lag("antiphon.replies.shop.1", "questions", "m-1"), a_lag("pricing", "questions", "m-2"))
    assert await Readers(broker, VirtualClock()).of("questions") == ["pricing"]
    assert broker.asked == ["pricing"]
