"""A message that kills its process is found by its unfinished attempts, run alone, and parked; the others go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from antiphon.storage.dead_letters import list_parked
from antiphon.storage.runs import list_runs, suspects_of
from tests.integration.runtime.deadly import OrderPlaced

ORDERS = [f"order-{number}" for number in range(40)]


@pytest.mark.parametrize("way", ["shared", "own", "await", "thread"])
async def test_it_is_parked_after_some_deaths_and_all_others_are_handled(tmp_path: Path, way: str) -> None:
    broker = EmbeddedBroker(tmp_path / "log.db")
    await broker.open()
    composer = Composer("till", SystemClock())
    await broker.publish([composer.first(OrderPlaced(id)) for id in [*ORDERS[:20], "deadly", *ORDERS[20:]]])
    deaths = await _until_done(broker, way)
    (letter,) = await list_parked(broker.database)
    assert letter.message.key == "deadly"
    assert letter.reason == "crash"
    assert "the process died 3 times" in letter.attempts[-1].text
    assert deaths == 5  # unknown, among others, and three times alone
    if way != "thread":
        entries = Counter(await broker.database.fetch("select order_id from entries", row=str))
        assert entries.keys() == set(ORDERS)
        assert way == "await" or set(entries.values()) == {1}
    assert await list_runs(broker.database) == []
    await broker.close()


@pytest.mark.parametrize("way", ["shared", "own", "await"])
async def test_several_of_them_are_found_one_after_the_other(tmp_path: Path, way: str) -> None:
    broker = EmbeddedBroker(tmp_path / "log.db")
    await broker.open()
    composer = Composer("till", SystemClock())
    ids = [*ORDERS[:10], "deadly-1", *ORDERS[10:20], "deadly-2", *ORDERS[20:]]
    await broker.publish([composer.first(OrderPlaced(id)) for id in ids])
    assert await _until_done(broker, way) <= 5 + 3 + 3
    letters = await list_parked(broker.database)
    assert {(letter.message.key, letter.reason) for letter in letters} == {("deadly-1", "crash"), ("deadly-2", "crash")}
    entries = await broker.database.fetch("select distinct order_id from entries", row=str)
    assert set(entries) == set(ORDERS)
    await broker.close()


async def _until_done(broker: EmbeddedBroker, way: str) -> int:
    """Run the service until everything is read, again whenever it died; returns how often it did."""
    process, deaths = _started(broker.url, way), 0
    try:
        async with asyncio.timeout(60):
            while not await _is_done(broker):
                await asyncio.sleep(0.02)
                if process.poll() is not None:
                    deaths += 1
                    process = _started(broker.url, way)
        assert len(await list_runs(broker.database, "deadly")) == 1
    finally:
        process.terminate()
        code = process.wait()
    assert code == 0
    return deaths


def _started(url: str, way: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.integration.runtime.deadly", url, way])


async def _is_done(broker: EmbeddedBroker) -> bool:
    lags = await broker.lag("deadly")
    return bool(lags) and not any(lag.messages for lag in lags)


async def test_a_process_that_drains_leaves_no_suspicion(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "log.db")
    await broker.open()
    composer = Composer("till", SystemClock())
    await broker.publish([composer.first(OrderPlaced(id)) for id in ORDERS])
    assert await _until_done(broker, "shared") == 0
    assert await list_runs(broker.database) == []
    assert (await suspects_of(broker.database, "deadly")).found_at is None
    await broker.close()
