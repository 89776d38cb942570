"""What do the URLs of RabbitMQ mean?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol
from urllib.parse import quote, urlencode

from antiphon.brokers.capabilities import MessageLimit
from antiphon.brokers.rabbitmq.broker import RabbitBroker
from antiphon.brokers.rabbitmq.log_broker import RabbitLogBroker
from antiphon.brokers.rabbitmq.server import Server
from antiphon.brokers.tls import Tls, with_tls
from antiphon.errors import SettingsError


class ServerAddress(Protocol):
    """What a URL says about the server."""

    @property
    def host(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def path(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def url(self) -> str: ...


@with_tls
def from_address(
    address: ServerAddress,
    *,
    prefix: str = "antiphon",
    hold: timedelta = timedelta(seconds=30),
    grace: timedelta = timedelta(seconds=10),
    prefetch: int = 250,
    heartbeat: timedelta = timedelta(seconds=10),
    max_message_bytes: MessageLimit = 16 * 1024 * 1024,
    tls: Tls,
) -> RabbitBroker:
    """`rabbitmq://user:password@host:5672/vhost`; without a path it is the virtual host `/`."""
    _check(address, {"hold": hold, "grace": grace, "heartbeat": heartbeat}, prefix, prefetch)
    return RabbitBroker(
        _server(address, heartbeat, tls),
        prefix=prefix,
        hold=hold,
        grace=grace,
        prefetch=prefetch,
        max_message_bytes=max_message_bytes,
    )


@with_tls
def log_from_address(
    address: ServerAddress,
    *,
    prefix: str = "antiphon",
    lease: timedelta = timedelta(seconds=10),
    grace: timedelta = timedelta(seconds=10),
    prefetch: int = 1_000,
    heartbeat: timedelta = timedelta(seconds=10),
    max_message_bytes: MessageLimit = 16 * 1024 * 1024,
    tls: Tls,
) -> RabbitLogBroker:
    """`rabbitmq-streams://user:password@host:5672/vhost`: as `rabbitmq://`, with topics that are streams."""
    _check(address, {"lease": lease, "grace": grace, "heartbeat": heartbeat}, prefix, prefetch)
    return RabbitLogBroker(
        _server(address, heartbeat, tls),
        prefix=prefix,
        lease=lease,
        grace=grace,
        prefetch=prefetch,
        max_message_bytes=max_message_bytes,
    )


def _check(address: ServerAddress, times: Mapping[str, timedelta], prefix: str, prefetch: int) -> None:
    if address.host is None:
        raise SettingsError(f"{address.url} names no host: write rabbitmq://guest:guest@localhost:5672")
    for name, value in times.items():
        if value <= timedelta():
            raise SettingsError(f"option {name!r} of {address.url} is {value}: give a time above zero")
    if prefetch < 1 or not prefix or set(prefix) & set("/:."):
        raise SettingsError(
            f"{address.url}: 'prefetch' is at least 1, and 'prefix' a word without dots, colons and slashes"
        )


def _server(address: ServerAddress, heartbeat: timedelta, tls: Tls) -> Server:
    """Its URL as the driver wants it, and beside it what TLS needs."""
    user, password = quote(address.user or "guest", safe=""), quote(address.password or "guest", safe="")
    host = address.host or ""
    host = f"[{host}]" if ":" in host else host
    query = {"heartbeat": str(max(1, round(heartbeat.total_seconds())))}
    port = address.port or (5671 if tls.tls else 5672)
    url = f"{'amqps' if tls.tls else 'amqp'}://{user}:{password}@{host}:{port}/{quote(address.path or '/', safe='')}"
    return Server(url=f"{url}?{urlencode(query)}", shown=address.url, tls=tls.context(address.url))
