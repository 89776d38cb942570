"""A bank that is killed: two services, each with a store of its own, that book double entries.

`python -m tests.torture.bank LOG STORE STORE POINT PASSES [--without-inbox]`: the process kills itself when it passes
the point that often; without a point it lives until it is stopped.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import count

from antiphon import Key, Service, Struct, Transaction, event, run
from antiphon.outbox.posting import Posting
from antiphon.resilience import Retry
from antiphon.runtime.settlement import LogSettling
from antiphon.runtime.transacting import BatchTransaction
from antiphon.storage.sessions import Sessions


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


def services(
    stores: Sequence[str], *, inbox: bool, sessions: Callable[[str], Sequence[Sessions]] = lambda _: ()
) -> list[Service]:
    """Both services, each with its own store and the table of entries in it; without handlers so far."""
    return [
        Service(name, store=store, migrations="bank_migrations", inbox=inbox, policy=INNOCENT, sessions=sessions(store))
        for name, store in zip(("transfers", "statements"), stores, strict=True)
    ]


def bank(stores: Sequence[str], *, inbox: bool = True) -> list[Service]:
    """Transfers are booked and told of; the statement books what it is told."""
    transfers, statements = services(stores, inbox=inbox)

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


def before(step: Step, passing: Passing) -> Step:
    """A step that is never taken once its time has come."""

    @wraps(step)
    async def dying(*args: object) -> object:
        _pass(passing)
        return await step(*args)

    return dying


def after(step: Step, passing: Passing) -> Step:
    """A step of which nobody learns that it was taken, once its time has come."""

    @wraps(step)
    async def dying(*args: object) -> object:
        result = await step(*args)
        _pass(passing)
        return result

    return dying


Points = Mapping[str, tuple[type, str, Callable[[Step, Passing], Step]]]

POINTS: Points = {
    "handled, not committed": (BatchTransaction, "_commit", before),
    "committed, not settled": (LogSettling, "settle", before),
    "read, not published": (Posting, "run", before),
    "published, not forgotten": (Posting, "run", after),
}
"""Between each two writes: where to die."""


def serve(make: Callable[..., list[Service]], points: Points, arguments: Sequence[str]) -> None:
    """Run what `make` makes of the stores, as the command line says, until it dies or is stopped."""
    log, first, second, point, passes = arguments[:5]
    os.environ["ANTIPHON_TRANSACTION_MESSAGES"] = "25"  # so that there are many commits to die at
    if point:
        owner, name, how = points[point]
        setattr(owner, name, how(getattr(owner, name), count(1 - int(passes))))
    run(*make((first, second), inbox="--without-inbox" not in arguments), broker=log)


if __name__ == "__main__":
    serve(bank, POINTS, sys.argv[1:])
