"""What do the URLs of NATS mean?"""

from __future__ import annotations

import re
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from antiphon.brokers.nats.broker import NatsBroker
from antiphon.brokers.nats.link import Login
from antiphon.brokers.nats.subscription import Patience
from antiphon.brokers.nats.topics import Shape
from antiphon.errors import SettingsError

_PORT = 4222
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


def from_address(
    address: ServerAddress,
    *,
    servers: str = "",
    replicas: int = 1,
    dedup: timedelta = timedelta(minutes=2),
    lease: timedelta = timedelta(seconds=10),
    grace: timedelta = timedelta(seconds=10),
    timeout: timedelta = timedelta(seconds=10),
    bucket: str = "antiphon",
    credentials: str = "",
    nkey: str = "",
    tls: bool = False,
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
) -> NatsBroker:
    """`nats://host:4222` or `nats://user:password@host/namespace`; a user without a password is a token."""
    namespace = address.path.rstrip("/")
    for name, value in (("namespace", namespace or "none"), ("bucket", bucket)):
        if not _NAME.fullmatch(value):
            raise SettingsError(f"{address.url}: {name} {value!r} may have letters, digits, '-' and '_' only")
    if not 1 <= replicas <= 5:
        raise SettingsError(f"{address.url}: replicas={replicas}: the server keeps 1 to 5 copies of a stream, best 1 or 3")
    for name, span in (("lease", lease), ("timeout", timeout)):
        if span <= timedelta():
            raise SettingsError(f"{address.url}: {name} must be more than nothing")
    is_token = address.user is not None and address.password is None
    files = _Files(ca=tls_ca, cert=tls_cert, key=tls_key)
    login = Login(
        servers=tuple(f"nats://{each}" for each in _hosts(address, servers)),
        shown=address.url,
        user=None if is_token else address.user,
        password=address.password,
        token=address.user if is_token else None,
        credentials=_file(address, "credentials", credentials),
        nkey=_file(address, "nkey", nkey),
        tls=files.context(address) if tls or tls_ca or tls_cert else None,
        timeout=timeout.total_seconds(),
    )
    shape = Shape(replicas=replicas, remember=dedup, namespace=namespace)
    return NatsBroker(login, shape=shape, patience=Patience(lease, grace), bucket=bucket)


def _hosts(address: ServerAddress, servers: str) -> list[str]:
    first = f"{address.host or '127.0.0.1'}:{address.port or _PORT}"
    others = [each.strip() for each in servers.split(",") if each.strip()]
    return [first, *(each if ":" in each else f"{each}:{_PORT}" for each in others)]


def _file(address: ServerAddress, name: str, path: str) -> str | None:
    if path and not Path(path).is_file():
        raise SettingsError(f"{address.url}: {name}={path}: there is no such file")
    return path or None


class _Files:
    """The files that TLS is set up with."""

    def __init__(self, *, ca: str, cert: str, key: str) -> None:
        self._ca, self._cert, self._key = ca, cert, key

    def context(self, address: ServerAddress) -> ssl.SSLContext:
        for name, path in (("tls_ca", self._ca), ("tls_cert", self._cert), ("tls_key", self._key)):
            _file(address, name, path)
        try:
            context = ssl.create_default_context(cafile=self._ca or None)
            if self._cert:
                context.load_cert_chain(self._cert, self._key or None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"{address.url}: the files of TLS cannot be used: {error}") from error
        return context
