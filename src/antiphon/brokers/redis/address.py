"""What do the URLs of Redis mean?"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Protocol

from antiphon.brokers.capabilities import MessageLimit
from antiphon.brokers.redis.broker import RedisBroker, RedisOptions
from antiphon.brokers.redis.driver import Endpoint
from antiphon.brokers.tls import Tls, with_tls
from antiphon.errors import SettingsError

_SHORTEST_LEASE = timedelta(seconds=0.1)


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
    lease: timedelta = timedelta(seconds=10),
    timeout: timedelta = timedelta(seconds=5),
    max_message_bytes: MessageLimit = 16 * 1024 * 1024,
    keep: Literal["all", "unread"] = "all",
    confirm: str = "memory",
    tls: Tls,
) -> RedisBroker:
    """`redis://user:password@host:6379/0`; what each option means is in the page on redis."""
    if address.path and not address.path.isdigit():
        raise SettingsError(
            f"{address.url} names the database {address.path!r}, but Redis's databases are numbers: write "
            f"redis://{address.host or 'localhost'}/0, and ?prefix={address.path} to keep logs apart"
        )
    if lease < _SHORTEST_LEASE or timeout <= timedelta() or not prefix:
        raise SettingsError(f"{address.url}: a lease has 0.1s at least, a timeout is above 0s, a prefix is not empty")
    disk, replicas = _confirmation(confirm, address.url)
    endpoint = Endpoint(
        url=address.url,
        host=address.host or "localhost",
        port=address.port or 6379,
        database=int(address.path or 0),
        user=address.user or None,
        password=address.password,
        tls=tls.context(address.url),
        timeout=timeout.total_seconds(),
    )
    options = RedisOptions(
        prefix=prefix,
        lease=lease,
        grace=lease,
        max_message_bytes=max_message_bytes,
        keep=keep,
        fsync=disk,
        replicas=replicas,
    )
    return RedisBroker(endpoint, options)


def _confirmation(text: str, url: str) -> tuple[bool, int]:
    """Whether the disk, and how many replicas, are to hold a message before it counts as published."""
    words = {word.strip() for word in text.split(",")}
    numbers = [word for word in words if word.isdigit()]
    if len(numbers) > 1 or words - {"memory", "disk", *numbers}:
        raise SettingsError(
            f"option 'confirm' of {url} is {text!r}: write memory, disk, a number of replicas, or disk,1 for both"
        )
    return "disk" in words, int(numbers[0]) if numbers else 0
