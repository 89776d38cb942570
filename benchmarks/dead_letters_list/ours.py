"""The two commands, each in a process of its own, over a log with 100,000 dead letters of four attempts each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypedDict

import msgspec

from antiphon import Message
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.ids import new_id
from antiphon.storage.dead_letters import DeadLetter, park
from antiphon.storage.set_aside import Attempt
from benchmarks.data import key_of, order_json

COUNT, BATCH, FAILURES, RUNS = 100_000, 1_000, 50, 5
START = datetime(2026, 1, 1, tzinfo=UTC)
TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/srv/shop/payments/service.py", line {line}, in step_{line}\n    await gateway.authorise(order.total)\n'
    for line in range(8)
)


class Listed(TypedDict):
    total: int


class Counted(TypedDict):
    count: int


def letters() -> Iterator[DeadLetter]:
    for number in range(COUNT):
        at = START + timedelta(seconds=number)
        kind, key = number % FAILURES, key_of(number)
        yield DeadLetter(
            message=Message(new_id(), "OrderPlaced", at, order_json(number), key, source="shop"),
            topic="orders",
            partition=number % 8,
            position=str(number),
            service="payments",
            handler="authorise",
            attempts=(Attempt(at, "ValueError", f"order {number} fails in way {kind}", TRACEBACK),) * 4,
            reason="ValueError",
            code_version="1",
            parked_at=at,
            lane=key,
            fingerprint=f"{kind:012x}",
        )


async def fill(path: Path) -> float:
    """Park them all; returns how many seconds the store took for it."""
    seconds, left = 0.0, letters()
    broker = EmbeddedBroker(path)
    await broker.open()
    while batch := list(islice(left, BATCH)):
        began = perf_counter()
        async with broker.database.transaction() as tx:
            await park(tx, batch)
        seconds += perf_counter() - began
    await broker.close()
    return seconds


def asked(path: Path, *arguments: str) -> bytes:
    command = [sys.executable, "-m", "antiphon", "dead-letters", "list", "--json", "-b", f"embedded:///{path}"]
    return subprocess.run([*command, *arguments], stdout=subprocess.PIPE, check=True).stdout


def once(path: Path) -> float:
    began = perf_counter()
    listed, grouped = asked(path), asked(path, "--by-failure")
    took = perf_counter() - began
    counts = msgspec.json.decode(grouped, type=dict[str, list[Counted]])["failures"]
    assert msgspec.json.decode(listed, type=Listed)["total"] == COUNT
    assert (len(counts), sum(each["count"] for each in counts)) == (FAILURES, COUNT)
    return took


def main() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        parking = asyncio.run(fill(path))
        took = [once(path) for _ in range(RUNS)]
    figures = {"value": median(took) * 1000, "seconds": sum(took), "parking": parking / COUNT * 1e6}
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
