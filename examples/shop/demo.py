"""How does a run of the shop go: stock it, let orders flow, measure at half speed, stop, and judge?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from antiphon.storage.dead_letters import count as count_parked
from examples.shop.audit import read_ledgers
from examples.shop.brokers import ORDERS, PRODUCTS
from examples.shop.chaos import Chaos
from examples.shop.options import Options, Source
from examples.shop.order import Order
from examples.shop.pace import Pace
from examples.shop.processes import SERVICES, Processes
from examples.shop.refusals import Refusals
from examples.shop.reports import percentile
from examples.shop.road import Road
from examples.shop.storefront.feed import Storefront
from examples.shop.stores import Stores, urls_of
from examples.shop.verdict import Verdict, judge, messages_of
from examples.shop.watch import Lags, Watch

BATCH = 100
LATENCY_SECONDS = 4.0
"""How long the phase at half speed takes at most."""
LATENCY_SHARE = 0.2
"""The most of all orders that it takes."""
BUSY = ("payments", "inventory")
"""Services that have several processes when there are several workers, and under chaos."""


class Result(Struct, frozen=True, kw_only=True):
    """What a run came to; its fields are those of `--json`."""

    orders: int
    refused: int
    confirmed: int
    declined: int
    out_of_stock: int
    cancelled: int
    events: int
    duplicates: int
    redelivered: int
    dead_letters: int
    lost: int
    double_effects: int
    conserved: bool
    kills: int
    seconds: float
    events_per_second: float
    p50_ms: float
    p99_ms: float


class Speed(Struct):
    """What was measured: all selling, events handled a second at full speed, and edges at half speed."""

    seconds: float = 0.0
    events_per_second: float = 0.0
    edges: list[int] = []


class Demo:
    """One run. Whoever shows it reads its public attributes meanwhile."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.source = Source(options)
        self.refusals = Refusals(file=folder / "refused.txt")
        self.stage = "reading the orders"
        self.total = 0
        self.road = Road(options.broker, folder)
        self.stores = Stores(self.road.database, urls_of(options.store, folder))
        self.storefront = Storefront(self.road.way)
        self.watch = Watch(self.stores)
        self.lags = Lags(self.road.broker, self.stores)
        workers = max(2, options.workers) if options.chaos else options.workers
        self.processes = Processes(self.road.url, folder, dict.fromkeys(BUSY, workers), self.stores.urls)
        self.pace = Pace(self.storefront, self.watch, self.lags, self.processes)
        self.chaos: Chaos | None = None
        self.speed = Speed()

    async def run(self) -> tuple[Result, Verdict]:
        """The whole run; nothing is left running.

        Raises StalledError, ServiceFailedError, StoreChoiceError, OSError, AntiphonError.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self.refusals.close)
            demand = self.source.survey(self.refusals)
            self.total = demand.orders
            stack.push_async_callback(self.stores.close)
            await self.stores.open()
            stack.push_async_callback(self.road.close)
            await self.road.open()
            self.storefront.pages = self.stores.of("orders")
            await self.storefront.open()
            self.stage = "starting the services"
            stack.push_async_callback(self.processes.stop)
            await self.processes.start()
            self.stage = "stocking the shop"
            await self.storefront.deliver(demand.goods())
            await self.pace.until_quiet()
            await self._sell()
            self.stage = "stopping the services"
            await self.processes.stop()
            self.stage = "auditing the ledgers"
            return await self._judge()

    async def _sell(self) -> None:
        """Sell all orders: most at full speed, the rest at half of it."""
        orders = self.source.orders()
        before, began = self.processes.totals().handled, perf_counter()
        await self._at_full_speed(orders, began)
        took = perf_counter() - began
        await asyncio.sleep(0.2)  # the last reports come in
        self.speed.events_per_second = (self.processes.totals().handled - before) / took
        if self.storefront.placed < self.total:
            self.processes.take_edges()
        await self._at_half_speed(orders, self.storefront.placed / took / 2)
        self.speed.seconds = perf_counter() - began - 0.2

    async def _at_full_speed(self, orders: Iterator[Order], began: float) -> None:
        if self.options.chaos:
            self.stage = "selling, while services are killed"
            self.chaos = Chaos(self.processes, self.options.seed)
        else:
            self.stage = "selling at full speed"
        try:
            while self.storefront.placed < (quota := self.total - self._held_back(perf_counter() - began)):
                room = await self.pace.until_room(quota, self.chaos)
                batch = list(islice(orders, min(room, BATCH)))
                if not batch:  # the file became shorter since it was surveyed
                    break
                await self.storefront.place(batch)
        finally:
            if self.chaos:
                await self.chaos.end()
        await self.pace.until_quiet()

    def _held_back(self, seconds: float) -> int:
        """How many orders to keep for the phase at half speed."""
        share = int(self.total * LATENCY_SHARE)
        if self.chaos:  # its pace is set by the kills, so this is a few seconds, too
            return share // 2
        at_half_speed = int(self.watch.ended / max(seconds, 0.1) / 2 * LATENCY_SECONDS)
        return min(share, max(at_half_speed, BATCH))

    async def _at_half_speed(self, orders: Iterator[Order], per_second: float) -> None:
        """Place the rest evenly, a few at a time; what waits in no queue shows how long handling takes."""
        self.stage = "selling at half speed, to measure how long an event takes"
        began, before = perf_counter(), self.storefront.placed
        while batch := list(islice(orders, max(1, round(per_second / 100)))):
            await self.storefront.place(batch)
            ahead = (self.storefront.placed - before) / per_second - (perf_counter() - began)
            await asyncio.sleep(max(0, ahead))
            await self.watch.look()
        await self.pace.until_quiet()

    async def _judge(self) -> tuple[Result, Verdict]:
        verdict = judge(await read_ledgers(self.stores.log, self.stores.own))
        report, edges = self.processes.totals(), sorted(self.processes.take_edges())
        result = Result(
            orders=verdict.orders,
            refused=self.refusals.total,
            confirmed=verdict.confirmed,
            declined=verdict.declined,
            out_of_stock=verdict.out_of_stock,
            cancelled=verdict.cancelled,
            events=report.handled,
            duplicates=report.duplicates,
            redelivered=max(0, report.consumed - await self._sent_to_services(verdict)),
            dead_letters=sum([await count_parked(store) for store in self.stores.every]),
            lost=verdict.lost,
            double_effects=verdict.double_effects,
            conserved=verdict.conserved,
            kills=sum(self.processes.kills.values()),
            seconds=round(self.speed.seconds, 2),
            events_per_second=round(self.speed.events_per_second, 1),
            p50_ms=percentile(edges, 0.5),
            p99_ms=percentile(edges, 0.99),
        )
        return result, verdict

    async def _sent_to_services(self, verdict: Verdict) -> int:
        """How many deliveries there would be if none came twice: each message once to each service that reads it.

        Counted from the ledgers, since not every broker says what it has carried.
        """
        sent = {ORDERS: messages_of(verdict) + self.storefront.repeated, PRODUCTS: 2 * self.storefront.delivered}
        read = [{lag.partition.topic for lag in await self.road.broker.lag(service)} for service in SERVICES]
        return sum(sent[topic] for topics in read for topic in topics)
