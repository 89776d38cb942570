"""Half of what this machine bears of ours: a publisher and a reader, with nothing between two beats.

The cluster's virtual machine compiles what it runs often, beside what is measured and on the same cores. So it is put
to work until it has done so, and what the machine bears then counts.
"""

from __future__ import annotations

import asyncio
import sys
from math import inf

from benchmarks.kafka_latency.ours import read_all
from benchmarks.measure import module, report, run_once

WARMED_BY = 4
"""Runs of each side, none of which counts."""


async def bear(url: str) -> tuple[int, float]:
    """So many orders, handled in so many seconds."""
    arrivals, begin = await read_all(inf, url)
    return arrivals.load.count, max(arrivals.at.values()) - begin


async def main(url: str) -> None:
    count, seconds = await bear(url)
    for side in ("ours", "twin") * WARMED_BY:
        await asyncio.to_thread(run_once, module(f"kafka_latency.{side}", str(count / 2 / seconds), url))
    count, seconds = await bear(url)
    report(count // 2, seconds, done=count // 2)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
