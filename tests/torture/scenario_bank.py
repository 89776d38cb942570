"""Whether money is neither lost nor made where stores are not the broker's, however often the bank is killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from math import inf
from pathlib import Path
from typing import NamedTuple

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database
from antiphon.storage.outbox import outbox_backlog
from antiphon.testing.servers import PostgresServer
from tests.torture import Tally, scenario, tally
from tests.torture.bank import POINTS, TransferAsked
from tests.torture.killing import victim

ACCOUNTS = 20
MOST_PASSES = 6
"""The process dies when it passes the point for the first to the sixth time."""
PATIENCE = timedelta(seconds=60)


class Bank(NamedTuple):
    """A bank to be killed: the module of its process, and how many transfers it is asked for in a round."""

    module: str
    transfers: int


BESIDE_THE_LOG = Bank("tests.torture.bank", 300)


@scenario
async def a_bank_beside_the_log_books_each_transfer_once(rounds: int, folder: Path) -> Tally:
    """On SQLite: a process dies between two writes in each round, at each point in turn."""
    return await keep_books(rounds, folder, [f"sqlite:///{folder / name}.db" for name in ("transfers", "statements")])


@scenario
async def a_bank_on_postgres_books_each_transfer_once(rounds: int, folder: Path) -> Tally:
    """On PostgreSQL, a schema for each service: as above."""
    with PostgresServer(durable=True) as server:
        return await keep_books(rounds, folder, schemas_of(server))


def schemas_of(server: PostgresServer, bank: str = "") -> list[str]:
    """A store for each service of the bank; on a server with several banks each has a name."""
    return [f"{server.url}?schema={bank}{name}" for name in ("transfers", "statements")]


async def keep_books(
    rounds: int, folder: Path, stores: Sequence[str], *options: str, bank: Bank = BESIDE_THE_LOG
) -> Tally:
    """Let money flow while processes die; what is missing in the books, and what is there twice."""
    broker = EmbeddedBroker(folder / "log.db")
    await broker.open()
    points = cycle(POINTS)
    numbers = iter(range(1_000_000_000))
    for _ in range(rounds):
        await broker.publish([_asked(next(numbers)) for _ in range(bank.transfers)])
        await asyncio.to_thread(_die_once, bank, next(points), broker.url, stores, options)
    databases = [connect_store(url) for url in stores]
    with victim(broker.url, *stores, "", "0", *options, module=bank.module):
        await _until_done(broker, databases)
    wanted = [f"{number} of {_account(number)}" for number in range(next(numbers))]
    found = [await _books(database) for database in databases]
    for database in databases:
        await database.close()
    await broker.close()
    return Tally(*map(sum, zip(*(tally(wanted, each) for each in found), strict=True)))


def _asked(number: int) -> Outgoing:
    composer = Composer("till", SystemClock())
    return composer.first(TransferAsked(_account(number), number, 1 + number % 97))


def _account(number: int) -> str:
    return f"account-{number % ACCOUNTS}"


def _die_once(bank: Bank, point: str, log: str, stores: Sequence[str], options: Sequence[str]) -> None:
    """Run a bank that dies at a point."""
    passes = str(random.randint(1, MOST_PASSES))
    with victim(log, *stores, point, passes, *options, module=bank.module) as process:
        # One that never came to its point, since there was not enough to do, is killed wherever it is.
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()


async def _until_done(broker: EmbeddedBroker, stores: Sequence[Database]) -> None:
    """Return when nothing is left on the way; fails when for long nothing becomes less of it."""
    for store in stores:
        await store.open()
    least = await _left(broker, stores)
    async with asyncio.timeout(PATIENCE.total_seconds()) as patience:
        while least > 0:
            # Only another process knows better, and it cannot set an event here.
            await asyncio.sleep(0.02)
            left = await _left(broker, stores)
            if left < least:
                least = left
                patience.reschedule(asyncio.get_running_loop().time() + PATIENCE.total_seconds())


async def _left(broker: EmbeddedBroker, stores: Sequence[Database]) -> float:
    """How much is on the way: looked at from the source on, so that nothing slips through behind."""
    total = 0.0
    for group, store in zip(("transfers", "statements"), stores, strict=True):
        lags = await broker.lag(group)
        total += sum(lag.messages for lag in lags) if lags else inf
        total += (await outbox_backlog(store, SystemClock().now())).messages
    return total


async def _books(store: Database) -> Counter[str]:
    """How often each transfer is booked whole: both its entries, of the same sum."""
    rows = await store.fetch("select account, number, pence from entries", row=tuple[str, int, int])
    debits = Counter(f"{number} of {account}" for account, number, pence in rows if account != "bank" and pence < 0)
    credits = Counter(number for account, number, _ in rows if account == "bank")
    assert sum(pence for _, _, pence in rows) == 0, "the books do not balance"
    assert debits.total() == credits.total(), "an entry stands alone"
    return debits
