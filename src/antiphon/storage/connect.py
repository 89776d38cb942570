"""Which database does a URL mean?"""

from __future__ import annotations

from antiphon.errors import SettingsError
from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase

_SQLITE = "sqlite:///"


def connect_store(url: str) -> Database:
    """The database that `url` means, not yet open; nothing is read or written.

    `sqlite:///app.db` is a file beside the current folder, `sqlite:////var/app.db` one by its whole path.
    Raises SettingsError for an unknown scheme.
    """
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SqliteDatabase(url.removeprefix(_SQLITE))
    raise SettingsError(f"store {url!r}: there is no such kind of store; use sqlite:///app.db")
