"""What is promised of the lags of many groups."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from antiphon.brokers.lags import lags_of
from antiphon.brokers.ports import Broker, Lag
from antiphon.errors import ConnectionLostError

GROUPS = [f"group-{number}" for number in range(100)]


class Slow:
    """A broker that answers once so many ask, and not about one."""

    def __init__(self, company: int, fails: str = "") -> None:
        self.asked: list[str] = []
        self._company, self._fails = company, fails
        self._enough = asyncio.Event()

    async def lag(self, group: str) -> Sequence[Lag]:
        self.asked.append(group)
        if group == self._fails:
            raise ConnectionLostError("away")
        if len(self.asked) >= self._company:
            self._enough.set()
        await self._enough.wait()
        return ()


async def test_some_groups_are_asked_about_at_once_and_told_in_their_order() -> None:
    broker = Slow(10)
    found = await asyncio.wait_for(lags_of(cast(Broker, broker), GROUPS), 10)
    assert list(found) == broker.asked == GROUPS


async def test_not_all_are_asked_about_at_once() -> None:
    broker = Slow(100)
    asking = asyncio.ensure_future(lags_of(cast(Broker, broker), GROUPS))
    for _ in range(10):
        await asyncio.sleep(0)
    assert 10 < len(broker.asked) < 50
    asking.cancel()
    await asyncio.wait({asking})


async def test_the_first_that_fails_is_told_and_nobody_is_asked_about_after_it() -> None:
    broker = Slow(1_000, fails="group-3")
    with pytest.raises(ConnectionLostError):
        await lags_of(cast(Broker, broker), GROUPS)
    await asyncio.sleep(0)
    assert len(broker.asked) < 50
