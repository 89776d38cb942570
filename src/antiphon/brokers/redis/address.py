"""What do the URLs of Redis mean?"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Protocol

from antiphon.brokers.redis.broker import RedisBroker, RedisOptions
from antiphon.brokers.redis.driver import Endpoint
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
    lease: timedelta = timedelta(seconds=10),
    grace: timedelta = timedelta(seconds=10),
    timeout: timedelta = timedelta(seconds=5),
    max_message_bytes: int = 16 * 1024 * 1024,
    keep: Literal["all", "unread"] = "all",
    replicas: int = 0,
    fsync: bool = False,
    connections: int = 8,
    tls: bool = False,
    tls_ca: str | None = None,
) -> RedisBroker:
    """`redis://user:password@host:6379/0`; what each option means is in the page on redis."""
    if address.path and not address.path.isdigit():
        raise SettingsError(
            f"{address.url} names the database {address.path!r}, but Redis's databases are numbers: write "
            f"redis://{address.host or 'localhost'}/0, and ?prefix={address.path} to keep logs apart"
        )
    if lease < timedelta(seconds=0.1) or timeout <= timedelta() or connections < 1 or replicas < 0 or not prefix:
        raise SettingsError(
            f"{address.url}: a lease has 0.1 s at least, a timeout is above 0, connections are 1 at least, replicas "
            "0 at least, and a prefix is not empty"
        )
    endpoint = Endpoint(
        url=address.url,
        host=address.host or "localhost",
        port=address.port or 6379,
        database=int(address.path or 0),
        user=address.user or None,
        password=address.password,
        tls=tls,
        tls_ca=tls_ca,
        timeout=timeout.total_seconds(),
    )
    options = RedisOptions(
        prefix=prefix,
        lease=lease,
        grace=grace,
        max_message_bytes=max_message_bytes,
        keep=keep,
        replicas=replicas,
        fsync=fsync,
        connections=connections,
    )
    return RedisBroker(endpoint, options)
