"""The work of ours in both `effectively-once` measurements, whatever the store: authorise every order of the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from antiphon import Service, Transaction, connect
from antiphon.brokers.ports import StoreBroker
from benchmarks.events import OrderPlaced, PaymentAuthorised
from benchmarks.filling import fill
from benchmarks.measure import report


def authorising(store: str, migrations: Path, count: int) -> tuple[Service, asyncio.Event]:
    """A service with the one handler, and what is set once that has seen `count` orders."""
    shop, everything = Service("shop", store=store, migrations=migrations), asyncio.Event()
    handled = 0

    @shop.on(OrderPlaced, guarantee="effectively_once")
    async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
        nonlocal handled
        pence = int(order.total * 100)
        await tx.execute("insert into ledger (order_id, pence) values (?, ?)", order.order_id, pence)
        handled += 1
        if handled == count:
            everything.set()
        return PaymentAuthorised(order.order_id, pence)

    return shop, everything


async def authorise_all(store: str, migrations: Path, count: int) -> None:
    """Handle `count` orders; the clock stops when the log has all their events, and the outbox none."""
    with TemporaryDirectory() as folder:
        broker = connect(f"embedded:///{Path(folder) / 'log.db'}")
        assert isinstance(broker, StoreBroker)
        await broker.open()
        await fill(broker, count)
        shop, everything = authorising(store, migrations, count)
        log_commits = broker.database.counters.commits
        started = perf_counter()
        await shop.start(broker)
        counters = shop.store.counters
        await everything.wait()
        await shop.stop()
        seconds = perf_counter() - started
        commits = counters.commits + broker.database.counters.commits - log_commits
        held = {topic.name: topic.messages for topic in await broker.topics()}
        left = sum(lag.messages for lag in await broker.lag("shop"))
        await broker.close()
    report(
        count,
        seconds,
        done=held["payments"] - left,
        commits_per_message=commits / count,
        statements_per_message=counters.statements / count,
        round_trips_per_message=counters.round_trips / count,
    )
