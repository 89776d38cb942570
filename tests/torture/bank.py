"""A bank that is killed: two services, each with a store of its own, that book double entries.

`python -m tests.torture.bank LOG STORE STORE POINT PASSES [--without-inbox]`: the process kills itself when it passes
the point that often; without a point it lives until it is stopped.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from itertools import count

from antiphon import Key, Service, Struct, Transaction, event, run
from antiphon.outbox.posting import Posting
from antiphon.resilience import Retry
from antiphon.runtime.settlement import LogSettling
from antiphon.runtime.transacting import BatchTransaction


@event(topic="transfers")
class TransferAsked(Struct, frozen=True):
    """Money is to go from one account to another."""

    account: Key[str]
    number: int
    pence: int


@event(topic="bookings")
class TransferBooked(Struct, frozen=True):
    """It went."""

    account: Key[str]
    number: int
    pence: int


INNOCENT = Retry(crashes=1_000_000)
"""No message is to blame for the deaths that are arranged here."""
BOOK = "insert into entries (account, number, pence) values (?, ?, ?)"


def bank(stores: tuple[str, str], *, inbox: bool = True) -> list[Service]:
    """Transfers are booked and told of; the statement books what it is told."""
    transfers, statements = (
        Service(name, store=store, migrations="bank_migrations", inbox=inbox, policy=INNOCENT)
        for name, store in zip(("transfers", "statements"), stores, strict=True)
    )

    @transfers.on(TransferAsked)
    async def book(asked: TransferAsked, tx: Transaction) -> TransferBooked:
        await tx.execute(BOOK, asked.account, asked.number, -asked.pence)
        await tx.execute(BOOK, "bank", asked.number, asked.pence)
        return TransferBooked(asked.account, asked.number, asked.pence)

    @statements.on(TransferBooked)
    async def state(booked: TransferBooked, tx: Transaction) -> None:
        await tx.execute(BOOK, booked.account, booked.number, -booked.pence)
        await tx.execute(BOOK, "bank", booked.number, booked.pence)

    return [transfers, statements]


Step = Callable[..., Awaitable[object]]
Passing = Iterator[int]


def _pass(passing: Passing) -> None:
    if next(passing) == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def _before(step: Step, passing: Passing) -> Step:
    @wraps(step)
    async def dying(*args: object) -> object:
        _pass(passing)
        return await step(*args)

    return dying


def _after(step: Step, passing: Passing) -> Step:
    @wraps(step)
    async def dying(*args: object) -> object:
        result = await step(*args)
        _pass(passing)
        return result

    return dying


POINTS: dict[str, tuple[type, str, Callable[[Step, Passing], Step]]] = {
    "handled, not committed": (BatchTransaction, "_commit", _before),
    "committed, not settled": (LogSettling, "settle", _before),
    "read, not published": (Posting, "run", _before),
    "published, not forgotten": (Posting, "run", _after),
}
"""Between each two writes: where to die."""


def arm(point: str, passes: int) -> None:
    """Let this process die there."""
    owner, name, how = POINTS[point]
    setattr(owner, name, how(getattr(owner, name), count(1 - passes)))


if __name__ == "__main__":
    log, first, second, point, passes = sys.argv[1:6]
    os.environ["ANTIPHON_TRANSACTION_MESSAGES"] = "25"  # so that there are many commits to die at
    if point:
        arm(point, int(passes))
    run(*bank((first, second), inbox="--without-inbox" not in sys.argv), broker=log)
