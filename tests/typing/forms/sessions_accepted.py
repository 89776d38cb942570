"""Handlers over users' own sessions and connections, and staging in them, as users write them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from antiphon import Key, Outbox, Service, Struct, event
from antiphon.storage.django import DjangoSessions
from antiphon.storage.sqlalchemy import SqlAlchemySessions


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="orders")
class OrderCancelled(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]


class OwnSession(AsyncSession):
    """A session with methods of its own."""


engine, async_engine = create_engine("sqlite:///app.db"), create_async_engine("sqlite+aiosqlite:///app.db")
maker, async_maker = sessionmaker(engine), async_sessionmaker(async_engine)
own_maker = async_sessionmaker(async_engine, class_=OwnSession, expire_on_commit=False)

awaited = Service("awaited", store="sqlite:///app.db", sessions=SqlAlchemySessions(async_maker))
plain = Service("plain", store="sqlite:///app.db", sessions=SqlAlchemySessions(maker))
mixed = Service("mixed", sessions=[SqlAlchemySessions(own_maker), SqlAlchemySessions(maker)])
around = Service("around", store="postgresql://localhost/app", sessions=DjangoSessions(using="default"))
lent, lent_by_server = Service("lent"), Service("lent-by-server", store="postgresql://localhost/app")
outbox = Outbox("shop")


@awaited.on(OrderPlaced, guarantee="effectively_once")
async def authorise(order: OrderPlaced, session: AsyncSession) -> PaymentAuthorised:
    await session.flush()
    return PaymentAuthorised(order.order_id)


@plain.on(OrderPlaced)
def authorise_plainly(order: OrderPlaced, session: Session) -> Iterator[PaymentAuthorised]:
    session.flush()
    yield PaymentAuthorised(order.order_id)


@mixed.on(OrderPlaced)
async def authorise_by_own(order: OrderPlaced, session: OwnSession) -> None:
    await session.flush()


@mixed.on(OrderCancelled)
def cancel(order: OrderCancelled, session: Session) -> None:
    session.flush()


@around.on(OrderPlaced)
def authorise_in_atomic(order: OrderPlaced) -> PaymentAuthorised:
    return PaymentAuthorised(order.order_id)


@lent.on(OrderPlaced)
async def write(order: OrderPlaced, connection: sqlite3.Connection) -> None:
    connection.execute("insert into ledger values (?)", [order.order_id])


@lent.on(OrderCancelled)
def write_plainly(order: OrderCancelled, connection: sqlite3.Connection) -> None:
    connection.execute("insert into ledger values (?)", [order.order_id])


@lent_by_server.on(OrderPlaced)
async def write_there(order: OrderPlaced, connection: psycopg.AsyncConnection[TupleRow]) -> None:
    await connection.execute("insert into ledger values (%s)", [order.order_id])


@lent_by_server.on(OrderCancelled)
def write_there_plainly(order: OrderCancelled, connection: psycopg.Connection) -> None:
    connection.execute("insert into ledger values (%s)", [order.order_id])


def place(
    connection: sqlite3.Connection,
    server: psycopg.Connection,
    session: Session,
    scoped: scoped_session[Session],
    core: Connection,
) -> str:
    outbox.make_tables(connection)
    for each in (connection, server, session, scoped, core, "default"):
        outbox.stage(each, OrderPlaced("1"), OrderCancelled("1"))
    (first,) = outbox.stage(connection, OrderPlaced("2"), key="other")
    return first


async def place_awaited(server: psycopg.AsyncConnection, session: AsyncSession, core: AsyncConnection) -> str:
    await outbox.stage_async(server, OrderPlaced("1"))
    await outbox.stage_async(session, OrderPlaced("1"), key="other")
    ids = await outbox.stage_async(core, OrderPlaced("1"))
    await core.run_sync(outbox.make_tables)
    return ids[0]
