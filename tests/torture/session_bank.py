"""A bank that is killed and writes over what its users have: SQLAlchemy's sessions, or psycopg's connections.

`python -m tests.torture.session_bank LOG STORE STORE POINT PASSES sqlalchemy|psycopg [--without-inbox]`: on
PostgreSQL, and else as `tests.torture.bank`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import psycopg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from antiphon import Service
from antiphon.storage.sessions import OwnedTransaction
from antiphon.storage.sqlalchemy import SqlAlchemySessions
from tests.torture.bank import POINTS, Points, TransferAsked, TransferBooked, before, serve, services

BOOK = "insert into entries (account, number, pence) values (%s, %s, %s), (%s, %s, %s)"
SESSION_POINTS: Points = {**POINTS, "handled, not committed": (OwnedTransaction, "commit", before)}
"""The same places: whoever is given a session commits by another way."""


class Base(DeclarativeBase): ...


class Entry(Base):
    """A row of the ledger. Its key is one for the mapper only: the table has none, and takes the same row twice."""

    __tablename__ = "entries"
    account: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    pence: Mapped[int]


def over_sqlalchemy(stores: Sequence[str], *, inbox: bool = True) -> list[Service]:
    """As `bank`, by coroutines with a session each."""
    transfers, statements = services(stores, inbox=inbox, sessions=_sessions)

    @transfers.on(TransferAsked)
    async def book(asked: TransferAsked, session: AsyncSession) -> TransferBooked:
        session.add_all(_entries(asked))
        return TransferBooked(asked.account, asked.number, asked.pence)

    @statements.on(TransferBooked)
    async def state(booked: TransferBooked, session: AsyncSession) -> None:
        session.add_all(_entries(booked))

    return [transfers, statements]


def over_psycopg(stores: Sequence[str], *, inbox: bool = True) -> list[Service]:
    """As `bank`, by plain functions with a connection each."""
    transfers, statements = services(stores, inbox=inbox)

    @transfers.on(TransferAsked)
    def book(asked: TransferAsked, connection: psycopg.Connection) -> TransferBooked:
        connection.execute(BOOK, _values(asked))
        return TransferBooked(asked.account, asked.number, asked.pence)

    @statements.on(TransferBooked)
    def state(booked: TransferBooked, connection: psycopg.Connection) -> None:
        connection.execute(BOOK, _values(booked))

    return [transfers, statements]


def _sessions(store: str) -> Sequence[SqlAlchemySessions]:
    """Those on the schema of this store."""
    url = make_url(store)
    options = {"options": f"-csearch_path={url.query['schema']}"}
    engine = create_async_engine(url.set(drivername="postgresql+psycopg", query=options), pool_size=20)
    return [SqlAlchemySessions(async_sessionmaker(engine))]


def _entries(transfer: TransferAsked | TransferBooked) -> list[Entry]:
    return [
        Entry(account=transfer.account, number=transfer.number, pence=-transfer.pence),
        Entry(account="bank", number=transfer.number, pence=transfer.pence),
    ]


def _values(transfer: TransferAsked | TransferBooked) -> tuple[str, int, int, str, int, int]:
    return transfer.account, transfer.number, -transfer.pence, "bank", transfer.number, transfer.pence


BANKS = {"sqlalchemy": over_sqlalchemy, "psycopg": over_psycopg}

if __name__ == "__main__":
    serve(BANKS[sys.argv[6]], SESSION_POINTS, sys.argv[1:])
