"""What do the URLs of NATS mean?"""

from __future__ import annotations

import re
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from antiphon.brokers.nats.broker import NatsBroker
from antiphon.brokers.nats.link import Login
from antiphon.brokers.nats.subscription import Patience
from antiphon.brokers.nats.topics import Shape
from antiphon.brokers.tls import Tls, with_tls
from antiphon.errors import SettingsError

_PORT = 4222
_GRACE = timedelta(seconds=10)
"""A short lease is for noticing deaths soon; whoever lives may still finish what it has."""
_NAME = re.compile("[A-Za-z0-9_-]+")


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
    servers: str | None = None,
    replicas: int = 1,
    dedup: timedelta = timedelta(minutes=2),
    lease: timedelta = timedelta(seconds=10),
    timeout: timedelta = timedelta(seconds=10),
    credentials: str | None = None,
    tls: Tls,
) -> NatsBroker:
    """`nats://host:4222` or `nats://user:password@host/namespace`; a user without a password is a token."""
    namespace = address.path.rstrip("/")
    if namespace and not _NAME.fullmatch(namespace):
        raise SettingsError(f"{address.url}: namespace {namespace!r} may have letters, digits, '-' and '_' only")
    if not 1 <= replicas <= 5:
        raise SettingsError(
            f"{address.url}: replicas={replicas}: the server keeps 1 to 5 copies of a stream, best 1 or 3"
        )
    for name, span in (("lease", lease), ("timeout", timeout)):
        if span <= timedelta():
            raise SettingsError(f"{address.url}: {name} must be more than nothing")
    is_token = address.user is not None and address.password is None
    is_seed = credentials is not None and "BEGIN" not in _text(address, credentials)
    if credentials is not None and find_spec("nkeys") is None:
        raise SettingsError(f"{address.url}: files of credentials need the package nkeys: pip install nkeys")
    login = Login(
        servers=tuple(f"nats://{each}" for each in _hosts(address, servers)),
        shown=address.url,
        user=None if is_token else address.user,
        password=address.password,
        token=address.user if is_token else None,
        credentials=None if is_seed else credentials,
        nkey=credentials if is_seed else None,
        tls=tls.context(address.url),
        timeout=timeout.total_seconds(),
    )
    shape = Shape(replicas=replicas, remember=dedup, namespace=namespace)
    return NatsBroker(login, shape=shape, patience=Patience(lease, grace=max(lease, _GRACE)))


def _hosts(address: ServerAddress, servers: str | None) -> list[str]:
    host = f"[{address.host}]" if ":" in (address.host or "") else address.host or "127.0.0.1"
    others = [each.strip() for each in (servers or "").split(",") if each.strip()]
    return [f"{host}:{address.port or _PORT}", *(each if ":" in each else f"{each}:{_PORT}" for each in others)]


def _text(address: ServerAddress, path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{address.url}: credentials={path} cannot be read: {error}") from error
