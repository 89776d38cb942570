"""Which of our errors does an exception of the PostgreSQL driver mean?"""

from __future__ import annotations

import re

from antiphon.errors import (
    ConstraintError,
    StatementError,
    StoreAccessError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    TransactionConflictError,
)
from antiphon.events.discretion import without_values

_AGAIN = "it was rolled back and can be done again"
_LOGIN = "mend user, password and database in the URL, or make them, and let them in by the server's pg_hba.conf"
_RIGHT = "grant it, or name a schema of your own with ?schema="
_READ_ONLY = "it is a standby or was made read-only; name the primary"
_GONE = "the server is stopping, starting or not there"
_NO_POSTGRES = "what listens there is no PostgreSQL: look at host and port in the URL"

# The codes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), or classes of them, whose
# meaning is more than "it failed"; the longest beginning that fits counts.
_MEANINGS: dict[str, tuple[type[StoreError], str]] = {
    "08": (StoreUnavailableError, _GONE),
    "0A": (StatementError, ""),
    "21": (StatementError, ""),
    "22": (StatementError, ""),
    "23": (ConstraintError, ""),
    "25006": (StoreReadOnlyError, _READ_ONLY),
    "25P03": (StoreUnavailableError, "the server ended it, since its transaction stood still for too long"),
    "25": (StatementError, ""),
    "26": (TransactionConflictError, f"its prepared statements were taken away; {_AGAIN}"),
    "28": (StoreAccessError, _LOGIN),
    "2B": (StatementError, ""),
    "34": (StatementError, ""),
    "3D": (StoreAccessError, _LOGIN),
    "3F000": (StoreAccessError, "the schema is not there; antiphon storage migrate makes the one of the URL"),
    "40001": (TransactionConflictError, _AGAIN),
    "40P01": (TransactionConflictError, _AGAIN),
    "40": (TransactionConflictError, _AGAIN),
    "42501": (StoreAccessError, _RIGHT),
    "42": (StatementError, ""),
    "44": (ConstraintError, ""),
    "53100": (StoreFullError, "there is no room left on the server's disk; free some, and it goes on"),
    "53": (StoreUnavailableError, "the server is short of memory or connections"),
    "54": (StatementError, ""),
    "55P03": (StoreUnavailableError, "another transaction holds the lock"),
    "55": (StatementError, ""),
    "57014": (StoreUnavailableError, "it took longer than the server allows, or somebody canceled it"),
    "57": (StoreUnavailableError, _GONE),
    "58030": (StoreError, "the server's disk fails"),
    "P0": (StatementError, ""),
    "XX001": (StoreCorruptError, "a table is damaged; restore a copy"),
    "XX002": (StoreCorruptError, "an index is damaged; reindex it"),
}
_NO_LOGIN = re.compile(r'authentication failed|pg_hba\.conf|not permitted to log|role ".*" does not exist')
"""How a refused login reads where the driver leaves out its code, 28P01 or 28000."""
_NO_PLACE = ("does not exist", "permission denied for database")
"""The same where the database is to blame: 3D000 or 42501."""
_TLS = {
    "SSL was required": (
        "sslmode demands SSL, which this server does not speak: turn it on there (ssl = on), or demand less in the URL"
    ),
    "root certificate file": (
        "sslmode demands to know who signed the server's certificate: name that file with sslrootcert in the URL"
    ),
    "certificate verify failed": (
        "nobody whom we trust signed its certificate: look at sslrootcert in the URL, and at the certificate"
    ),
    "does not match host name": (
        "its certificate is another host's: name the host as the certificate does, or demand less with sslmode"
    ),
    ", SSL encryption": _LOGIN,  # which was tried first; another try without it is told beside that
    ", no encryption": (
        "it may let in with TLS alone: say sslmode=verify-full, and with sslrootcert who signed its certificate; else "
        "let in user and database by the server's pg_hba.conf"
    ),
}
"""What libpq says where a server and we do not agree on TLS. Another try does not help, as long as we never did."""
_ON_THE_WAY: dict[str, tuple[type[StoreError], str]] = {
    **{said: (StoreAccessError, hint) for said, hint in _TLS.items()},
    "invalid response to": (StoreUnavailableError, _NO_POSTGRES),
    "expected authentication request": (StoreUnavailableError, _NO_POSTGRES),
}
"""What libpq says where it did not get so far that a server could tell us anything; there is no code for it."""
_STALE_PLAN = "RevalidateCachedQuery"


def explain(error: Exception, place: str, tried: str) -> StoreError:
    """Our error for the driver's, saying what was tried where; raise it `from` the driver's."""
    kind, hint = _meaning(error)
    return kind(f"{place}: cannot {tried}: {_text(error)}" + (f": {hint}" if hint else ""))


def explain_reconnect(error: Exception, place: str) -> StoreError:
    """As `explain`, where connecting failed for who was let in before: a login or certificate may be being renewed."""
    explained = explain(error, place, "connect")
    if _is_refused_login(error) or (not _state(error) and any(said in str(error) for said in _TLS)):
        return StoreUnavailableError(f"{explained}; we were let in before, so it is tried again")
    return explained


def explain_value(error: Exception, place: str, tried: str) -> StatementError:
    """Our error for a value that cannot be sent at all; the server was not asked."""
    return StatementError(f"{place}: cannot {tried}: {error}")


def is_stale(error: Exception) -> bool:
    """Whether the connection's prepared statements do not fit the tables any more, so that a new one is needed."""
    return _state(error).startswith("26") or _source(error) == _STALE_PLAN


def _meaning(error: Exception) -> tuple[type[StoreError], str]:
    state = _state(error)
    if _source(error) == _STALE_PLAN:
        return TransactionConflictError, f"its tables were changed meanwhile; {_AGAIN}"
    if not state and (said := next((each for each in _ON_THE_WAY if each in str(error)), None)) is not None:
        return _ON_THE_WAY[said]
    if not state:
        # libpq's own: it never got through to a server, or lost it.
        is_refused = _is_refused_login(error) or any(words in str(error) for words in _NO_PLACE)
        return (StoreAccessError, _LOGIN) if is_refused else (StoreUnavailableError, _GONE)
    found = next((state[:length] for length in (5, 2) if state[:length] in _MEANINGS), "")
    return _MEANINGS.get(found, (StoreError, ""))


def _is_refused_login(error: Exception) -> bool:
    """Whether connecting failed for who we say we are; a database that is gone, or a right to it, is no such case.

    An error that psycopg raises when connecting fails has no code: libpq keeps only the text. So texts are all there
    is, but for a password that is missing. Where a server speaks another language than English, a refused login is
    taken for a server that is not there, which is tried again. Other drivers, such as asyncpg, give the code.
    """
    if state := _state(error):
        return state.startswith("28")
    link: object = getattr(error, "pgconn", None)
    if getattr(link, "needs_password", False) is True:
        return True
    return _NO_LOGIN.search(str(error)) is not None


def _state(error: Exception) -> str:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else ""


def _source(error: Exception) -> str | None:
    source: str | None = getattr(getattr(error, "diag", None), "source_function", None)
    return source


def _text(error: Exception) -> str:
    """What the server says, without the place in its own text, which is not ours."""
    diag = getattr(error, "diag", None)
    primary: str | None = getattr(diag, "message_primary", None)
    detail = without_values(_state(error), getattr(diag, "message_detail", None) or "")
    text = primary or _shorter(str(error))
    return f"{text} ({detail})" if detail else text


def _shorter(text: str) -> str:
    """On one line, without the questions that libpq asks."""
    lines = (line.strip() for line in text.removeprefix("connection failed: ").splitlines())
    return " ".join(line for line in lines if not line.startswith("Is the server running"))
