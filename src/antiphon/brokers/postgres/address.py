"""What do the URLs of the broker in a PostgreSQL database mean?"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlencode

from antiphon.brokers.capabilities import MessageLimit
from antiphon.brokers.postgres.broker import PostgresBroker
from antiphon.errors import SettingsError
from antiphon.storage.postgres import parse_address

_OURS = ("max_message_bytes", "lease", "grace")


class ServerAddress(Protocol):
    """What a URL says about the server."""

    @property
    def password(self) -> str | None: ...
    @property
    def url(self) -> str: ...


def from_address(
    address: ServerAddress,
    *,
    max_message_bytes: MessageLimit = 16 * 1024 * 1024,
    lease: timedelta = timedelta(seconds=10),
    grace: timedelta = timedelta(seconds=10),
    **store: str,
) -> PostgresBroker:
    """`postgresql://user:password@host:5432/database`; what else stands in it are options of the store and libpq's."""
    if lease <= timedelta():
        raise SettingsError(f"{address.url}: lease must be more than nothing, as in lease=10s")
    url = _store_url(address, store)
    parse_address(url, others=_OURS)  # so that a slip in one of the broker's own options is told with these
    return PostgresBroker(url, max_message_bytes=max_message_bytes, lease=lease, grace=grace)


def _store_url(address: ServerAddress, options: dict[str, str]) -> str:
    """The URL of the store alone, letter for letter, so that a service that names it means the same database."""
    base, _, query = address.url.partition("?")
    if address.password is not None:
        user, _, place = base.rpartition("@")
        base = f"{user.rpartition(':')[0]}:{quote(address.password, safe='')}@{place}"
    kept = [pair for pair in query.split("&") if pair and _name(pair) not in _OURS]
    rest = "&".join(urlencode({_name(pair): options[_name(pair)]}) if "***" in pair else pair for pair in kept)
    return f"{base}?{rest}" if rest else base


def _name(pair: str) -> str:
    return parse_qsl(pair, keep_blank_values=True)[0][0]
