"""What does a PostgreSQL URL say: where the server is, which schema, how strict, how many connections?"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import cast, get_args
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from msgspec import Struct

from antiphon.errors import SettingsError
from antiphon.events.amounts import duration
from antiphon.storage.database import Isolation
from antiphon.storage.postgres.driver import DriverError, parse_url
from antiphon.storage.secrets import without_secrets

SCHEMES = ("postgres", "postgresql")
_OURS = ("schema", "isolation", "connections", "patience")
_ITS_OWN = "write sslmode=verify-full&sslrootcert=FILE, and sslcert, sslkey and sslpassword for a certificate of yours"
_LONGEST_NAME = 63
_MOST_CONNECTIONS = 1000
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_BELIEVING = _SSL_MODES[3:]
"""Those that look at who signed the server's certificate, where that is named."""
_KEEPALIVE = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}


class Address(Struct, frozen=True, kw_only=True):
    """A PostgreSQL store's URL, taken apart. Only `parameters` knows the password; it is never printed."""

    parameters: Mapping[str, str]
    """What libpq is given."""
    url: str
    """Whole, but for secrets."""
    place: str
    """The same without options: what errors call it."""
    schema: str | None = None
    isolation: Isolation = "read-committed"
    connections: int = 10
    """How many one process opens at most."""
    patience: timedelta = timedelta(seconds=10)
    """How long is waited for a connection."""

    def __repr__(self) -> str:
        return f"Address({self.url})"


def parse_address(url: str, others: Collection[str] = ()) -> Address:
    """Take a URL apart; nothing is connected.

    `schema`, `isolation`, `connections` and `patience` are our options; any other is libpq's, such as `sslmode`.
    `others` are options that whoever asks has taken out of it: they are named with ours where one is unknown.
    Raises SettingsError that says what is wrong with it, without the password.
    """
    shown = without_secrets(url)
    if not url.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise SettingsError(f"{shown!r} is no URL of a PostgreSQL store: write postgresql://user@host:5432/database")
    ours, rest = _divided(url, shown)
    try:
        parameters = parse_url(rest)
    except (DriverError, ValueError) as error:
        raise SettingsError(_unreadable(shown, error, others)) from None  # the driver's text may hold the password
    if not all(port.isdecimal() for port in parameters.get("port", "5432").split(",")):
        raise SettingsError(_unreadable(shown))
    _check_tls(parameters, shown)
    schema, patience = ours.get("schema"), _patience(ours, shown)
    return Address(
        parameters=_completed(parameters, patience),
        url=shown,
        place=_place(parameters, schema),
        schema=_schema(schema, shown),
        isolation=_isolation(ours.get("isolation", "read-committed"), shown),
        connections=_connections(ours.get("connections", "10"), shown),
        patience=patience,
    )


def _divided(url: str, shown: str) -> tuple[dict[str, str], str]:
    """Our own options, and the URL without them."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise SettingsError(_unreadable(shown)) from None
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise SettingsError(f"{shown} gives an option twice: give each once")
    if parts.fragment:
        raise SettingsError(f"{shown} has a '#': write %23 where it belongs to a name or a password")
    ours = {name: value for name, value in pairs if name in _OURS}
    rest = urlencode([(name, value) for name, value in pairs if name not in _OURS], quote_via=quote)
    # Put together by `urlunsplit`, one without a host would lose its slashes.
    base = f"{parts.scheme}://{url.partition('?')[0].partition('://')[2]}"
    return ours, f"{base}?{rest}" if rest else base


def _unreadable(shown: str, error: Exception | None = None, others: Collection[str] = ()) -> str:
    found = re.search(r'invalid URI query parameter: "([^"]*)"', str(error))
    if found is not None:
        from difflib import get_close_matches  # only after a mistake: it would slow every start

        ours = (*_OURS, *others)
        near = get_close_matches(found[1], ours, n=1, cutoff=0.5)
        if found[1].startswith("tls"):
            return f"{shown} has an option {found[1]!r}, but libpq speaks TLS here: {_ITS_OWN}"
        hint = f"; did you mean {near[0]!r}?" if near else f"; ours are {', '.join(ours)}, and libpq has its own"
        return f"{shown} has an option {found[1]!r} that nobody knows{hint}"
    return (
        f"{shown} cannot be read as the URL of a PostgreSQL store: write "
        "postgresql://user:password@host:5432/database, and %40 for @, %2F for /, %3A for : inside user and password"
    )


def _check_tls(parameters: Mapping[str, str], shown: str) -> None:
    """Whether libpq would do what is meant: it says so late, or never, and connects without TLS."""
    mode = parameters.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise SettingsError(f"{shown}: sslmode is one of {', '.join(_SSL_MODES)}, not {mode!r}")
    is_said_elsewhere = "service" in parameters or {"PGSSLMODE", "PGSERVICE"} & os.environ.keys()
    authority = parameters.get("sslrootcert", "system")  # with which libpq demands the most by itself
    if authority != "system" and mode not in _BELIEVING and (mode is not None or not is_said_elsewhere):
        raise SettingsError(
            f"{shown} names an authority in sslrootcert, but would do without TLS: say sslmode=verify-full, too"
        )


def _completed(parameters: Mapping[str, str], patience: timedelta) -> dict[str, str]:
    """What makes a connection ours: UTF-8, and that a server that is gone is noticed in time."""
    defaults = {
        "client_encoding": "UTF8",
        "application_name": "antiphon",
        "connect_timeout": str(max(2, int(patience.total_seconds()))),
        "tcp_user_timeout": "30000",
        **_KEEPALIVE,
    }
    return {**defaults, **parameters}


def _place(parameters: Mapping[str, str], schema: str | None) -> str:
    host = parameters.get("host", "localhost")
    port = f":{parameters['port']}" if "port" in parameters else ""
    inside = f" ({schema})" if schema else ""
    return f"postgresql://{host}{port}/{parameters.get('dbname', '')}{inside}"


def _schema(name: str | None, shown: str) -> str | None:
    if name is None:
        return None
    if not name or len(name.encode()) > _LONGEST_NAME or "\0" in name or name.startswith("pg_"):
        raise SettingsError(
            f"{shown}: {name!r} is no name for a schema: use 1 to {_LONGEST_NAME} characters, and no pg_ before them"
        )
    return name


def _isolation(text: str, shown: str) -> Isolation:
    if text not in get_args(Isolation):
        raise SettingsError(f"{shown}: isolation is one of {', '.join(get_args(Isolation))}, not {text!r}")
    return cast("Isolation", text)


def _connections(text: str, shown: str) -> int:
    if text.isascii() and text.isdecimal() and 2 <= int(text) <= _MOST_CONNECTIONS:
        return int(text)
    raise SettingsError(f"{shown}: connections is a number from 2 to {_MOST_CONNECTIONS}, not {text!r}")


def _patience(ours: Mapping[str, str], shown: str) -> timedelta:
    try:
        return duration(ours.get("patience", "10s"))
    except ValueError as error:
        raise SettingsError(f"{shown}: patience cannot be used: {error}") from error
