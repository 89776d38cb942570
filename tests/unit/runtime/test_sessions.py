"""A handler that asks for a session is refused where it cannot have one, before anything runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from antiphon import Publisher, Transaction
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import DeclarationError
from antiphon.runtime.declared import Declared
from antiphon.runtime.dependencies import read_provider
from antiphon.runtime.guarantees import Guarantee, derive
from antiphon.runtime.options import read_service_options
from antiphon.runtime.route import HandlerOptions, Mode
from antiphon.runtime.sessions import HandlerSessions, check_sessions
from antiphon.storage.sqlite import SqliteDatabase
from tests.unit.runtime.shop_events import OrderPlaced, PaymentTaken


class Sessions:
    """Gives nothing; only its kind is looked at."""

    def __init__(self, kind, *, is_plain):
        self.kind, self.is_plain = kind, is_plain

    async def begin(self): ...


class OwnSession(AsyncSession):
    pass


ASYNC, PLAIN, AROUND = (
    Sessions(OwnSession, is_plain=False),
    Sessions(Session, is_plain=True),
    Sessions(None, is_plain=True),
)


async def awaited(order: OrderPlaced, session: AsyncSession) -> PaymentTaken: ...
async def own(order: OrderPlaced, session: OwnSession) -> None: ...
def plain(order: OrderPlaced, session: Session) -> None: ...
async def lent(order: OrderPlaced, connection: sqlite3.Connection) -> None: ...
def lent_plain(order: OrderPlaced, connection: sqlite3.Connection) -> Iterator[PaymentTaken]:
    yield PaymentTaken("")


async def generic(order: OrderPlaced, connection: psycopg.AsyncConnection[psycopg.rows.DictRow]) -> None: ...
def nothing(order: OrderPlaced) -> None: ...
async def nothing_awaited(order: OrderPlaced) -> None: ...
def wrong_plain(order: OrderPlaced, session: AsyncSession) -> None: ...
async def wrong_awaited(order: OrderPlaced, connection: psycopg.Connection) -> None: ...
async def two(order: OrderPlaced, session: AsyncSession, tx: Transaction) -> None: ...
async def both(order: OrderPlaced, session: AsyncSession, connection: sqlite3.Connection) -> None: ...
async def batch(orders: list[OrderPlaced], session: AsyncSession) -> None: ...
def batch_of_nothing(orders: list[OrderPlaced]) -> None: ...
def plain_publisher(order: OrderPlaced, session: Session, publisher: Publisher) -> None: ...


@pytest.fixture
def store():
    return SqliteDatabase(":memory:")


def declared(function, *sessions, **options):
    found = Declared("payments")
    found.sessions = sessions
    found.add(function, (OrderPlaced,), HandlerOptions(**options), {})
    return found


@pytest.mark.parametrize("function", [awaited, plain, lent, lent_plain, generic])
def test_a_handler_that_asks_for_a_session_runs_in_its_transaction(function):
    assert declared(function).handlers[0].mode is Mode.SESSION


def test_djangos_transaction_is_around_plain_functions_and_nothing_else():
    assert declared(nothing, AROUND).handlers[0].mode is Mode.SESSION
    assert declared(nothing, PLAIN).handlers[0].mode is Mode.THREAD
    assert declared(nothing_awaited, AROUND).handlers[0].mode is Mode.AWAIT
    assert declared(nothing, AROUND, settles_first=True).handlers[0].mode is Mode.THREAD


@pytest.mark.parametrize(
    ("function", "options", "reason"),
    [
        (wrong_plain, {}, "a AsyncSession is awaited here: write `async def`"),
        (wrong_awaited, {}, "a Connection would stop the event loop here: write `def`"),
        (two, {}, "asks for AsyncSession and Transaction"),
        (both, {}, "asks for AsyncSession and Connection"),
        (batch, {"batch_size": 10}, "a batch handler has no session"),
        (awaited, {"settles_first": True}, "settle='first' gives up what a Transaction is for"),
        (plain_publisher, {}, "cannot await a Publisher"),
    ],
)
def test_what_cannot_work_is_refused_at_its_declaration(function, options, reason):
    with pytest.raises(DeclarationError, match=reason.replace("(", r"\(")):
        declared(function, **options)


def test_a_batch_under_djangos_sessions_is_refused():
    with pytest.raises(DeclarationError, match="a batch handler has no session"):
        declared(batch_of_nothing, AROUND, batch_size=10)


def test_a_connection_that_the_service_provides_too_is_refused():
    def provide() -> sqlite3.Connection: ...

    found = declared(lent)
    found.providers[sqlite3.Connection] = read_provider(provide, {})
    with pytest.raises(DeclarationError, match="the service provides one, too"):
        found.check()


@pytest.mark.parametrize(("function", "given"), [(awaited, ASYNC), (own, ASYNC), (plain, PLAIN), (nothing, AROUND)])
def test_a_handler_gets_the_sessions_that_fit_it(store, function, given):
    handlers = declared(function, AROUND).handlers
    others = [each for each in (AROUND, PLAIN, ASYNC) if each is not given]
    assert HandlerSessions(handlers, store, [*others, given]).by_handler[function.__name__] is given


@pytest.mark.parametrize(
    ("function", "given"),
    [(awaited, [PLAIN]), (plain, [ASYNC]), (own, [Sessions(AsyncSession, is_plain=False)]), (awaited, [])],
)
def test_a_handler_that_no_sessions_fit_is_refused(store, function, given):
    with pytest.raises(DeclarationError, match="its service has no sessions of that kind"):
        HandlerSessions(declared(function).handlers, store, given)


def test_a_store_gives_connections_of_its_own_driver_only(store):
    assert HandlerSessions(declared(lent).handlers, store, ()).by_handler["lent"].kind is sqlite3.Connection
    with pytest.raises(DeclarationError, match=r"asks for psycopg.AsyncConnection, and its service's store, sqlite:"):
        HandlerSessions(declared(generic).handlers, store, ())


def test_two_handlers_share_the_sessions_of_their_kind(store):
    found = Declared("payments")
    found.add(lent, (OrderPlaced,), HandlerOptions(), {})
    found.by_event.clear()
    found.add(lent_plain, (OrderPlaced,), HandlerOptions(), {})
    sessions = HandlerSessions(found.handlers, store, ()).by_handler
    assert sessions["lent"] is not sessions["lent_plain"]
    assert sessions["lent_plain"].is_plain


def test_a_session_of_the_users_own_beside_the_brokers_store_is_refused_and_a_lent_connection_is_not():
    broker = MemoryBroker()
    check_sessions(declared(lent).handlers, broker, broker.database, ())
    check_sessions(declared(awaited).handlers, broker, SqliteDatabase(":memory:"), [ASYNC])
    with pytest.raises(DeclarationError, match="the store of its service is the broker's own"):
        check_sessions(declared(awaited).handlers, broker, broker.database, [ASYNC])


@pytest.mark.parametrize("inbox", [True, False])
def test_it_is_effectively_once_with_an_inbox_and_the_reason_names_the_session(inbox):
    broker = MemoryBroker()
    derived = derive(declared(awaited).handlers[0], broker, SqliteDatabase(":memory:"), inbox=inbox)
    assert derived.guarantee is (Guarantee.EFFECTIVELY_ONCE if inbox else Guarantee.AT_LEAST_ONCE)
    assert ("over its session" in derived.reason) is inbox


@pytest.mark.parametrize("given", [3, "default", object(), Sessions, [3]], ids=range(5))
def test_what_gives_no_sessions_is_refused_as_sessions(given):
    with pytest.raises(DeclarationError, match="it gives handlers sessions"):
        read_service_options({"sessions": given})


def test_one_or_several_sessions_may_be_given():
    assert read_service_options({"sessions": ASYNC}).sessions == (ASYNC,)
    assert read_service_options({"sessions": [ASYNC, PLAIN]}).sessions == (ASYNC, PLAIN)
    assert read_service_options({}).sessions == ()
