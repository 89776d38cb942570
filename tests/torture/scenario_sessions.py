"""Whether money is neither lost nor made by handlers that are given sessions, however often they are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from antiphon.testing.servers import PostgresServer
from tests.torture import Tally, scenario
from tests.torture.scenario_bank import Bank, keep_books, schemas_of

KINDS = ("sqlalchemy", "psycopg")
SESSION_BANK = Bank("tests.torture.session_bank", 20)
"""Fewer transfers than elsewhere: each has a transaction of its own, and with it a commit to die at."""


@scenario
async def banks_over_sessions_book_each_transfer_once(rounds: int, folder: Path) -> Tally:
    """One of coroutines with SQLAlchemy's AsyncSession, one of plain functions with a psycopg.Connection.

    In each round a process of each dies between two writes, at each point in turn.
    """
    found = await keep_books_over_sessions(rounds, folder)
    return Tally(sum(each.lost for each in found.values()), sum(each.double for each in found.values()))


async def keep_books_over_sessions(rounds: int, folder: Path, *options: str) -> Mapping[str, Tally]:
    """As `keep_books`, the banks side by side on one PostgreSQL; the tally of each."""
    logs = [folder / kind for kind in KINDS]
    for log in logs:
        log.mkdir()
    with PostgresServer(durable=True) as server:
        tallies = await asyncio.gather(
            *(
                keep_books(rounds, log, schemas_of(server, f"{kind}_"), kind, *options, bank=SESSION_BANK)
                for kind, log in zip(KINDS, logs, strict=True)
            )
        )
    return dict(zip(KINDS, tallies, strict=True))
