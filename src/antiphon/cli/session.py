"""What a command works on: the settings, and a broker opened for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, Browsing
from antiphon.errors import StoreError, UnsupportedCapabilityError
from antiphon.runtime.settings import Settings, load_settings

T = TypeVar("T")
_EMBEDDED = "embedded:///"


def settings_for(broker: str | None) -> Settings:
    """The settings of this folder, with the broker that was given. Raises SettingsError."""
    return load_settings({"broker": broker})


@asynccontextmanager
async def opened(settings: Settings, *, existing: bool = True) -> AsyncGenerator[Broker, None]:
    """The broker, open. Raises StoreError when it is a log that is not there, and should be `existing`."""
    file = log_file(settings.broker)
    if existing and file is not None and not file.exists():
        raise StoreError(
            f"there is no log at {file}: run a service or publish an event first, or name another with --broker"
        )
    broker = connect(settings.broker)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


def log_file(url: str) -> Path | None:
    """The file of an embedded log, which settings have made absolute."""
    return Path(url.removeprefix(_EMBEDDED).partition("?")[0]) if url.startswith(_EMBEDDED) else None


def browsing(broker: Broker) -> Browsing:
    """The broker as one that can be read without a group. Raises UnsupportedCapabilityError."""
    if not isinstance(broker, Browsing) or not broker.capabilities.replay:
        raise UnsupportedCapabilityError(f"the broker {broker.url}", "reading without a group", "it keeps no log")
    return broker


def run_async(work: Coroutine[object, object, T]) -> T:
    """Run the command's own coroutine."""
    return asyncio.run(work)
