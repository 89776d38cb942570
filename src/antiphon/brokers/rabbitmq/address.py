"""What do the URLs of RabbitMQ mean?"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol
from urllib.parse import quote, urlencode

from antiphon.brokers.rabbitmq.broker import RabbitBroker
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


def from_address(
    address: ServerAddress,
    *,
    prefix: str = "antiphon",
    hold: timedelta = timedelta(seconds=30),
    grace: timedelta = timedelta(seconds=10),
    prefetch: int = 250,
    heartbeat: timedelta = timedelta(seconds=10),
    max_message_bytes: int = 16 * 1024 * 1024,
    tls: bool = False,
) -> RabbitBroker:
    """`rabbitmq://user:password@host:5672/vhost`; without a path it is the virtual host `/`."""
    if address.host is None:
        raise SettingsError(f"{address.url} names no host: write rabbitmq://guest:guest@localhost:5672")
    for name, value in (("hold", hold), ("grace", grace), ("heartbeat", heartbeat)):
        if value <= timedelta():
            raise SettingsError(f"option {name!r} of {address.url} is {value}: give a time above zero")
    if prefetch < 1 or not prefix or set(prefix) & set("/:."):
        raise SettingsError(
            f"{address.url}: 'prefetch' is at least 1, and 'prefix' a word without dots, colons and slashes"
        )
    user, password = quote(address.user or "guest", safe=""), quote(address.password or "guest", safe="")
    host = f"[{address.host}]" if ":" in address.host else address.host
    query = {"heartbeat": str(max(1, round(heartbeat.total_seconds())))}
    port = address.port or (5671 if tls else 5672)
    url = f"{'amqps' if tls else 'amqp'}://{user}:{password}@{host}:{port}/{quote(address.path or '/', safe='')}"
    return RabbitBroker(
        f"{url}?{urlencode(query)}",
        shown=address.url,
        prefix=prefix,
        hold=hold,
        grace=grace,
        prefetch=prefetch,
        max_message_bytes=max_message_bytes,
    )
