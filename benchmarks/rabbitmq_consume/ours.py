"""As `reading`, but a queue holds only what came after its group: the group is made first, then the orders."""

from __future__ import annotations

import asyncio
import sys

from antiphon import connect
from benchmarks.filling import fill
from benchmarks.reading import new_group, read_all


async def main(count: int, url: str) -> None:
    broker, group = connect(url), new_group()
    await broker.open()
    await (await broker.subscribe(group, ["orders"])).close()
    await fill(broker, count)
    await broker.close()
    await read_all(count, url, group)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
