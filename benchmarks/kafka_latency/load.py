"""The load of both sides: so many orders at each beat, and when each beat was due.

A publisher, which is a process of its own, sends what is due at a beat whether or not the beats before it are
confirmed, and prints when the first one was due. How long an order took is counted from when it was due. Where every
beat is due at once, what comes of it is how much the machine bears.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from math import inf
from statistics import quantiles
from time import perf_counter
from uuid import UUID

from msgspec import Struct

from benchmarks.data import order_json

BEAT = 0.005
SECONDS, WARM_UP = 1.5, 1.0
BEATS = int((SECONDS + WARM_UP) / BEAT)
ALL_AT_ONCE = 75
"""Orders of a beat when there is no pause between two."""
PROBING = 0.05
"""Seconds between two probes."""
_PROBE = 1 << 40
"""The number of an order that only asks whether it is read."""
PROBE = order_json(_PROBE)
_NUMBER = (1 << 48) - 1


class Load(Struct, frozen=True):
    """So many orders at each beat."""

    at_once: int
    beat: float = BEAT

    @staticmethod
    def of(rate: float) -> Load:
        """Of so many a second; of infinitely many, as a good many that are all due at once."""
        return Load(ALL_AT_ONCE, beat=0.0) if rate == inf else Load(max(1, round(rate * BEAT)))

    @property
    def count(self) -> int:
        return BEATS * self.at_once

    async def beats(self) -> AsyncIterator[range]:
        """The numbers of the orders of each beat, when it is due."""
        begin = perf_counter() + 0.1
        print(begin, flush=True)
        for number in range(BEATS):
            await asyncio.sleep(max(0.0, begin + number * self.beat - perf_counter()))
            yield range(number * self.at_once, (number + 1) * self.at_once)


class Arrivals:
    """When each order came to its handler."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.is_reading = False
        self.everything = asyncio.Event()
        self.at: dict[int, float] = {}

    def note(self, customer: UUID) -> None:
        """The handler's work; an order's number stands in its customer's id."""
        number = customer.int & _NUMBER
        if number == _PROBE:
            self.is_reading = True
        else:
            self.at[number] = perf_counter()
            if len(self.at) == self.load.count:
                self.everything.set()

    def report(self, begin: float) -> None:
        """Print the side's line, in milliseconds."""
        at_once = self.load.at_once
        warm = range(int(WARM_UP / BEAT) * at_once, self.load.count)
        took = [(self.at[number] - begin - number // at_once * BEAT) * 1000 for number in warm]
        p50, p99 = quantiles(took, n=2)[0], quantiles(took, n=100)[98]
        print(json.dumps({"value": p99, "p50": p50, "p99": p99, "seconds": SECONDS}))


def publisher(module: str, rate: float, url: str) -> subprocess.Popen[str]:
    """Start a publisher; the first line that it prints is when its first beat is due."""
    command = [sys.executable, "-m", f"benchmarks.kafka_latency.{module}", str(rate), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def begin_of(publisher: subprocess.Popen[str]) -> float:
    """When its first beat was due; returns once it has ended."""
    said, _ = publisher.communicate()
    if publisher.returncode:
        raise SystemExit("the publisher failed")
    return float(said)
