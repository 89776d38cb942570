"""The load of both sides: so many orders at each beat, and when each beat was due.

A publisher, which is a process of its own, sends what is due at a beat whether or not the beats before it are
confirmed, and prints when the first one was due. How long an order took is counted from when it was due.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from statistics import quantiles
from time import perf_counter
from uuid import UUID

from benchmarks.data import order_json

RATE = 12_000
"""Orders a second: half of what two cores bore, with both processes and the cluster on them, and others' work."""
BEAT = 0.005
SECONDS, WARM_UP = 1.5, 1.0
AT_ONCE = int(RATE * BEAT)
BEATS = int((SECONDS + WARM_UP) / BEAT)
COUNT = BEATS * AT_ONCE
PROBING = 0.05
"""Seconds between two probes."""
_PROBE = 1 << 40
"""The number of an order that only asks whether it is read."""
PROBE = order_json(_PROBE)
_NUMBER = (1 << 48) - 1


async def beats() -> AsyncIterator[range]:
    """The numbers of the orders of each beat, when it is due."""
    begin = perf_counter() + 0.1
    print(begin, flush=True)
    for beat in range(BEATS):
        await asyncio.sleep(max(0.0, begin + beat * BEAT - perf_counter()))
        yield range(beat * AT_ONCE, (beat + 1) * AT_ONCE)


class Arrivals:
    """When each order came to its handler."""

    def __init__(self) -> None:
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
            if len(self.at) == COUNT:
                self.everything.set()

    def report(self, begin: float) -> None:
        """Print the side's line, in milliseconds."""
        first = int(WARM_UP / BEAT) * AT_ONCE
        took = [(self.at[number] - begin - number // AT_ONCE * BEAT) * 1000 for number in range(first, COUNT)]
        p50, p99 = quantiles(took, n=2)[0], quantiles(took, n=100)[98]
        print(json.dumps({"value": p99, "p50": p50, "p99": p99, "seconds": SECONDS}))


def publisher(module: str, url: str) -> subprocess.Popen[str]:
    """Start a publisher; the first line that it prints is when its first beat is due."""
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.kafka_latency.{module}", url], stdout=subprocess.PIPE, text=True
    )


def begin_of(publisher: subprocess.Popen[str]) -> float:
    """When its first beat was due; returns once it has ended."""
    said, _ = publisher.communicate()
    if publisher.returncode:
        raise SystemExit("the publisher failed")
    return float(said)
