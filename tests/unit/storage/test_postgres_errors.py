"""What PostgreSQL refuses is told apart by its code wherever there is one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from antiphon.errors import StoreAccessError, StoreUnavailableError
from antiphon.storage.postgres.errors import explain, explain_reconnect


class DriverError(Exception):
    """As drivers raise it."""

    def __init__(self, text: str, sqlstate: str | None = None, *, needs_password: bool | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate
        self.pgconn = None if needs_password is None else SimpleNamespace(needs_password=needs_password)


def kind_of(error: Exception) -> type[Exception]:
    return type(explain(error, "postgresql://h/d", "connect"))


@pytest.mark.parametrize("code", ["28P01", "28000", "3D000", "42501"])
def test_a_refused_login_is_known_by_its_code_in_any_language(code: str) -> None:
    assert kind_of(DriverError("das geht nicht", code)) is StoreAccessError


@pytest.mark.parametrize("code", ["57P03", "53300", "08006"])
def test_a_server_that_is_not_ready_is_known_by_its_code_whatever_it_says(code: str) -> None:
    assert kind_of(DriverError('role "x" does not exist', code)) is StoreUnavailableError


def test_a_password_that_is_missing_is_known_without_a_code_in_any_language() -> None:
    assert kind_of(DriverError("kein Passwort angegeben", needs_password=True)) is StoreAccessError
    assert kind_of(DriverError("der Server ist weg", needs_password=False)) is StoreUnavailableError


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "pw"',
        'FATAL:  database "nowhere" does not exist',
        'FATAL:  role "ghost" does not exist',
        'FATAL:  role "nolog" is not permitted to log in',
        'FATAL:  pg_hba.conf rejects connection for host "127.0.0.1"',
        'FATAL:  permission denied for database "template1"',
    ],
)
def test_without_a_code_a_refused_login_is_known_by_its_text(text: str) -> None:
    assert kind_of(DriverError(f"connection failed: {text}", needs_password=False)) is StoreAccessError


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("28P01", "das geht nicht", StoreUnavailableError),
        (None, 'FATAL:  password authentication failed for user "pw"', StoreUnavailableError),
        (None, 'FATAL:  role "nolog" is not permitted to log in', StoreUnavailableError),
        (None, 'FATAL:  role "ghost" does not exist', StoreUnavailableError),
        (None, 'FATAL:  no pg_hba.conf entry for host "::1", user "u", database "d"', StoreUnavailableError),
        ("42501", "das geht nicht", StoreAccessError),
        (None, 'FATAL:  database "nowhere" does not exist', StoreAccessError),
        (None, 'FATAL:  permission denied for database "template1"', StoreAccessError),
    ],
)
def test_who_was_let_in_before_may_be_again_but_a_database_that_is_gone_or_a_missing_right_is_final(
    code: str | None, text: str, kind: type[Exception]
) -> None:
    found = explain_reconnect(DriverError(text, code, needs_password=False), "postgresql://h/d")
    assert type(found) is kind
    assert text.removeprefix("FATAL:  ") in str(found)


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("server does not support SSL, but SSL was required", StoreAccessError, "sslmode demands SSL"),
        ('root certificate file "/x.crt" does not exist', StoreAccessError, "sslrootcert"),
        ("SSL error: certificate verify failed", StoreAccessError, "nobody whom we trust signed"),
        ('server certificate for "a" does not match host name "b"', StoreAccessError, "another host's"),
        ('no pg_hba.conf entry for host "h", user "u", no encryption', StoreAccessError, "say sslmode=verify-full"),
        (
            'no pg_hba.conf entry for "u", SSL encryption; no pg_hba.conf entry for "u", no encryption',
            StoreAccessError,
            "mend user",
        ),
        ("received invalid response to SSL negotiation: H", StoreUnavailableError, "no PostgreSQL: look at host and"),
        ("expected authentication request from server, but received -", StoreUnavailableError, "is no PostgreSQL"),
    ],
)
def test_what_stands_between_us_and_a_server_is_told_as_it_is(text: str, kind: type[Exception], told: str) -> None:
    error = explain(DriverError(f"connection failed: {text}"), "postgresql://h/d", "connect")
    assert type(error) is kind
    assert told in str(error)
    assert "stopping, starting or not there" not in str(error)


@pytest.mark.parametrize(
    "text", ["SSL error: certificate verify failed", 'no pg_hba.conf entry for "u", no encryption']
)
def test_what_is_wrong_with_tls_is_final_unless_we_were_let_in_before(text: str) -> None:
    assert kind_of(DriverError(text)) is StoreAccessError
    later = explain_reconnect(DriverError(text), "postgresql://h/d")
    assert type(later) is StoreUnavailableError
    assert "we were let in before" in str(later)


@pytest.mark.parametrize("text", ["Connection refused", "FATAL:  the database system is starting up", ""])
def test_anything_else_without_a_code_is_a_server_that_is_not_there(text: str) -> None:
    assert kind_of(DriverError(text)) is StoreUnavailableError
