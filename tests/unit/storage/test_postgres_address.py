"""A URL says all that a store on PostgreSQL needs, and nobody ever sees its password."""

import traceback
from datetime import timedelta

import pytest

from antiphon.errors import SettingsError
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.postgres.address import parse_address
from antiphon.storage.secrets import without_secrets


def test_a_plain_url_has_defaults():
    address = parse_address("postgresql://ada@db.example:5433/shop")
    assert (address.schema, address.isolation, address.connections) == (None, "read-committed", 10)
    assert address.patience == timedelta(seconds=10)
    assert address.place == "postgresql://db.example:5433/shop"
    assert {name: address.parameters[name] for name in ("host", "port", "user", "dbname")} == {
        "host": "db.example",
        "port": "5433",
        "user": "ada",
        "dbname": "shop",
    }


def test_our_options_are_ours_and_the_others_libpqs():
    options = "schema=Orders&isolation=serializable&connections=3&patience=1s&sslmode=require&application_name=mine"
    address = parse_address(f"postgres://ada@db/shop?{options}")
    assert (address.schema, address.isolation, address.connections) == ("Orders", "serializable", 3)
    assert address.patience == timedelta(seconds=1)
    assert address.place == "postgresql://db/shop (Orders)"
    assert address.parameters["sslmode"] == "require"
    assert address.parameters["application_name"] == "mine"
    assert not {"schema", "isolation", "connections", "patience"} & address.parameters.keys()


@pytest.mark.parametrize(
    "options", ["sslmode=verify-full&sslrootcert=/x.pem", "sslrootcert=system", "service=shop&sslrootcert=/x"]
)
def test_an_authority_that_libpq_will_ask_is_taken(options):
    assert "sslrootcert" in parse_address(f"postgresql://db/shop?{options}").parameters


def test_the_mode_of_tls_may_be_said_by_the_environment(monkeypatch):
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert parse_address("postgresql://db/shop?sslrootcert=/x.pem").parameters["sslrootcert"] == "/x.pem"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://ada@db/shop", "is no URL of a PostgreSQL store"),
        ("shop.db", "is no URL of a PostgreSQL store"),
        ("postgresql://db/shop?schem=orders", "has an option 'schem' that nobody knows; did you mean 'schema'"),
        ("postgresql://db/shop?tls_ca=/x.pem", "libpq speaks TLS here: write sslmode=verify-full&sslrootcert=FILE"),
        ("postgresql://db/shop?sslmode=verify-fulll", "sslmode is one of disable, allow, prefer, require, verify-ca"),
        ("postgresql://db/shop?sslrootcert=/x.pem", "do without TLS: say sslmode=verify-full, too"),
        ("postgresql://db/shop?sslrootcert=/x.pem&sslmode=prefer", "do without TLS: say sslmode=verify-full, too"),
        ("postgresql://db/shop?frobnicate=1", "has an option 'frobnicate' that nobody knows; ours are schema"),
        ("postgresql://db/shop?schema=a&schema=b", "gives an option twice"),
        ("postgresql://db/shop?schema=", "is no name for a schema"),
        ("postgresql://db/shop?schema=pg_mine", "is no name for a schema"),
        (f"postgresql://db/shop?schema={'x' * 64}", "is no name for a schema"),
        ("postgresql://db/shop?isolation=none", "isolation is one of read-committed, repeatable-read, serializable"),
        ("postgresql://db/shop?connections=1", "connections is a number from 2 to 1000, not '1'"),
        ("postgresql://db/shop?connections=many", "connections is a number"),
        ("postgresql://db/shop?patience=10", "patience cannot be used: a duration is a number and a unit"),
        ("postgresql://db/shop#here", "has a '#'"),
        ("postgresql://db:port/shop", "cannot be read"),
        ("postgresql://[::1/shop", "cannot be read"),
    ],
)
def test_a_wrong_url_is_refused_with_how_to_mend_it(url, complaint):
    with pytest.raises(SettingsError, match=complaint):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cret@db/shop",
        "postgresql://ada:s3cret@db/shop?schema=pg_x",
        "postgresql://ada:s3cret@db/shop?schem=x",
        "postgresql://ada:s3cret@db/shop#x",
        "postgresql://ada:s3cret@db:port/shop",
        "postgresql://ada:s3cret/a@db/shop?schema=",
        "postgresql://ada:s3cret?a@db/shop",
        "postgresql://ada:s3cret#a@db/shop",
        "postgresql://ada:x@s3cret@db/shop?schema=",
        "postgresql://ada:[s3cret@db/shop",
        "postgresql://ada@db/shop?password=s3cret&connections=0",
        "postgresql://ada@db/shop?sslpassword=s3cret&connections=0",
    ],
)
def test_nobody_sees_a_password(url):
    said = [without_secrets(url)]
    try:
        database = PostgresDatabase(url)
        said += [repr(database), database.url, database.name, repr(vars(database))]
    except SettingsError as error:
        said += traceback.format_exception(error)
    assert "s3cret" not in "".join(line for line in said if "raise " not in line)
