"""Which store does a URL mean?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NamedTuple
from urllib.parse import unquote

from antiphon.errors import SettingsError
from antiphon.storage.database import Database
from antiphon.storage.secrets import without_secrets

SQLITE = "sqlite:///"


class Adapter(NamedTuple):
    """Where the store of a scheme is, as `module:name`, and which extra installs what it needs."""

    factory: str
    extra: str | None = None


ADAPTERS: Mapping[str, Adapter] = {
    "sqlite": Adapter("antiphon.storage.sqlite:SqliteDatabase"),
    "postgres": Adapter("antiphon.storage.postgres:PostgresDatabase", "postgres"),
    "postgresql": Adapter("antiphon.storage.postgres:PostgresDatabase", "postgres"),
}


def connect_store(url: str) -> Database:
    """The store that `url` means, not yet open; nothing is read or written.

    `postgresql://user@host:5432/database`, `sqlite:///orders.db` (two more slashes begin an absolute path), or the path
    of a SQLite file. Raises SettingsError for a scheme, an option or a value that is unknown, or an extra that is not
    installed.
    """
    if not url.strip():
        raise SettingsError("the URL of the store is empty: write the path of a SQLite file, or postgresql://...")
    scheme, _, rest = url.partition("://")
    adapter = ADAPTERS.get(scheme.lower() if rest else "sqlite")
    if adapter is None:
        known = ", ".join(f"{each}://" for each in ADAPTERS)
        raise SettingsError(f"no store has the scheme {scheme!r} of {without_secrets(url)}; there are {known}")
    factory = _load(adapter, without_secrets(url))
    return factory(_path(url) if adapter.extra is None else url)


def _path(url: str) -> str:
    """The path of a SQLite file."""
    path = unquote(url[len(SQLITE) :]) if url.lower().startswith(SQLITE) else url
    if "://" in path:
        raise SettingsError(f"{url!r} names no file: write sqlite:///orders.db, or sqlite:////var/lib/orders.db")
    if not path:
        raise SettingsError(f"{url!r} names no file: write its path behind the slashes, as in sqlite:///orders.db")
    return path


def _load(adapter: Adapter, shown: str) -> Callable[[str], Database]:
    module, _, name = adapter.factory.partition(":")
    try:
        factory: Callable[[str], Database] = getattr(import_module(module), name)
    except ImportError as error:
        if adapter.extra is None or (error.name or "").startswith("antiphon"):
            raise
        raise SettingsError(
            f"{shown} needs {error.name or 'a driver'}, which is not installed: pip install 'antiphon[{adapter.extra}]'"
        ) from error
    return factory
