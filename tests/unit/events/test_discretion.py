"""What is told of an error names no customer, whichever library raised it and whatever it was wrapped in."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from antiphon.events.discretion import hide_values, without_values
from antiphon.observability.logging import ContextFilter, JsonLines, ReadableLines
from antiphon.runtime.surroundings import failure_of
from antiphon.runtime.work import attempt_of
from antiphon.storage.faults import explain_wrapped
from antiphon.storage.postgres.errors import explain

SECRET = "bob@example.org"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    email: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def session():
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(sa.insert(Customer).values(email=SECRET))
        yield session
    engine.dispose()


def refused(session):
    """What SQLAlchemy raises for a row that is there already."""
    with pytest.raises(sa.exc.IntegrityError) as caught:
        session.execute(sa.text("insert into customers (email) values (:email)"), {"email": SECRET})
    assert SECRET in str(caught.value)
    return caught.value


def wrapped(error):
    try:
        raise RuntimeError(f"the customer is not saved: {error}") from error
    except RuntimeError as outer:
        return outer


def ended(session):
    """What it raises for whatever is done after that: it quotes the first error."""
    session.add(Customer(email=SECRET))
    with pytest.raises(sa.exc.IntegrityError):
        session.flush()
    with pytest.raises(PendingRollbackError) as caught:
        session.execute(sa.text("select 1"))
    assert SECRET in str(caught.value)
    return caught.value


class ServerError(Exception):
    """As psycopg's: its text is all that the server said."""

    sqlstate = "23505"

    def __init__(self, said="duplicate key"):
        detail = f"Key (email)=({SECRET}) already exists."
        super().__init__(f"{said}\nDETAIL:  {detail}")
        self.diag = SimpleNamespace(message_primary=said, message_detail=detail)


def test_what_is_kept_and_logged_of_an_attempt_has_the_statement_but_no_parameters(session):
    for error in (refused(session), wrapped(refused(session)), ExceptionGroup("two", [refused(session)])):
        attempt = attempt_of(error, NOW)
        assert SECRET not in attempt.text + attempt.traceback
        assert "UNIQUE constraint failed: customers.email" in attempt.traceback
        assert "insert into customers" in attempt.traceback


def test_an_error_that_quotes_another_ones_parameters_hides_them_too(session):
    error = ended(session)
    error.__context__ = None
    attempt = attempt_of(error, NOW)
    assert SECRET not in attempt.text + attempt.traceback
    assert "INSERT INTO customers" in attempt.text


def test_a_failure_tells_nothing_from_the_moment_it_is_taken_for_one(session):
    assert SECRET not in str(failure_of(refused(session)))


@pytest.mark.parametrize("lines", [JsonLines(), ReadableLines()])
def test_a_log_line_of_whoever_logs_it_tells_no_parameters(session, lines):
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(lines)
    handler.addFilter(ContextFilter())
    logger = logging.getLogger("the user's own")
    logger.addHandler(handler)
    logger.error("it failed", exc_info=wrapped(refused(session)))
    logger.error("it failed: %s", refused(session))
    logger.removeHandler(handler)
    assert out.getvalue().count("UNIQUE constraint failed") >= 2
    assert SECRET not in out.getvalue()


def test_our_own_error_for_one_of_a_library_tells_no_parameters(session):
    with pytest.raises(sa.exc.StatementError) as caught:  # the library refuses it, before the database is asked
        session.execute(sa.insert(Customer).values(email=sa.bindparam("email", type_=sa.Date())), {"email": SECRET})
    assert SECRET in str(caught.value)
    explained = explain_wrapped("sqlite", caught.value, "SQLAlchemy's Session", "run it")
    assert SECRET not in str(explained)


def test_a_servers_detail_is_told_without_the_row():
    error = wrapped(ServerError())
    attempt = attempt_of(error, NOW)
    assert SECRET not in attempt.text + attempt.traceback
    assert "Key (email) already exists." in attempt.text
    explained = str(explain(ServerError(), "the store", "run it"))
    assert explained == "the store: cannot run it: duplicate key (Key (email) already exists.)"


@pytest.mark.parametrize(
    ("state", "detail", "told"),
    [
        ("23505", "Key (a, lower(b))=(1, x)) already exists.", "Key (a, lower(b)) already exists."),
        ("23503", 'Key (a)=(1) is not present in table "b".', 'Key (a) is not present in table "b".'),
        ("23502", "Failing row contains (1, bob).", ""),
        ("22P02", 'Token "bob" is invalid.', ""),
        ("40P01", "Process 1 waits for ShareLock.", "Process 1 waits for ShareLock."),
    ],
)
def test_of_a_servers_detail_only_what_is_no_value_is_told(state, detail, told):
    assert without_values(state, detail) == told


def test_an_error_that_raises_at_whatever_it_is_asked_stays_as_it_is():
    class UnspeakableError(Exception):
        def __getattribute__(self, name):
            raise ValueError(name)

    hide_values(UnspeakableError("x"))


def test_causes_in_a_circle_end():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    hide_values(first)
    assert str(first) == "a"
