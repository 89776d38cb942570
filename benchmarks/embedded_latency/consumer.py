"""A service that tells on its standard output when it handled each message, by the machine's monotonic clock."""

from __future__ import annotations

import sys
from time import perf_counter

from antiphon import Service, run
from benchmarks.events import OrderPlaced

shop = Service("shop")


@shop.on(OrderPlaced)
async def handle(order: OrderPlaced) -> None:
    print(perf_counter(), flush=True)


if __name__ == "__main__":
    run(shop, broker=sys.argv[1])
