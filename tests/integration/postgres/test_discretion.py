"""What a real server says of a row that it refuses is told without the row."""

from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from antiphon.runtime.work import attempt_of
from antiphon.storage.connect import connect_store

SECRET = "bob@example.org"
MAKE = "create temporary table customers (email text primary key, age integer)"


def over_psycopg(url):
    with psycopg.connect(url) as connection:
        connection.execute(MAKE)
        for _ in range(2):
            connection.execute("insert into customers values (%s, 1)", [SECRET])


def over_sqlalchemy(url):
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(MAKE))
            for _ in range(2):
                connection.execute(sa.text("insert into customers values (:email, 1)"), {"email": SECRET})
    finally:
        engine.dispose()


@pytest.mark.parametrize("insert_twice", [over_psycopg, over_sqlalchemy])
def test_a_users_library_tells_the_rule_and_no_customer(postgres_server, insert_twice):
    with pytest.raises(Exception, match=SECRET) as caught:
        insert_twice(postgres_server)
    attempt = attempt_of(caught.value, datetime.now(UTC))
    assert "customers_pkey" in attempt.text
    assert "Key (email) already exists." in attempt.text
    assert SECRET not in attempt.text + attempt.traceback


async def test_our_own_store_tells_the_rule_and_no_customer(postgres_url):
    store = connect_store(postgres_url)
    await store.open()
    try:
        tx = await store.begin()
        await tx.execute(MAKE)
        for _ in range(2):
            await tx.execute("insert into customers values (?, 1)", SECRET)
        with pytest.raises(Exception, match="customers_pkey") as caught:
            await tx.fetch("select 1")
        await tx.rollback()
    finally:
        await store.close()
    attempt = attempt_of(caught.value, datetime.now(UTC))
    assert SECRET not in attempt.text + attempt.traceback
