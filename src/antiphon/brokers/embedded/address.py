"""What do the URLs of the broker in a file mean?"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from antiphon.brokers.capabilities import MessageLimit
from antiphon.brokers.embedded.broker import EmbeddedBroker
from antiphon.errors import SettingsError


class FileAddress(Protocol):
    """What a URL says about the file."""

    @property
    def host(self) -> str | None: ...
    @property
    def path(self) -> str: ...
    @property
    def url(self) -> str: ...


def from_address(
    address: FileAddress,
    *,
    max_message_bytes: MessageLimit = 16 * 1024 * 1024,
    lease: timedelta = timedelta(seconds=10),
    grace: timedelta = timedelta(seconds=10),
) -> EmbeddedBroker:
    """`embedded:///orders/log.db` is beside the working directory, `embedded:////var/log.db` is absolute."""
    if address.host is not None:
        raise SettingsError(
            f"{address.url} names a host, but the log is a file of this machine: write three slashes, "
            f"embedded:///{f'{address.host}/{address.path}'.rstrip('/')}"
        )
    if not address.path:
        raise SettingsError(f"{address.url} names no file: write embedded:///.antiphon/log.db")
    return EmbeddedBroker(address.path, max_message_bytes=max_message_bytes, lease=lease, grace=grace)
