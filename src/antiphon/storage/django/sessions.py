"""How does a handler run inside Django's `atomic`, in whose transaction its mark and its events commit?"""

from __future__ import annotations

from contextlib import AbstractContextManager

from antiphon.errors import StoreError
from antiphon.storage.database import Database
from antiphon.storage.django.connections import DjangoConnection
from antiphon.storage.django.driver import atomic, close_all, refused
from antiphon.storage.endings import ended
from antiphon.storage.sessions import Hopping, OwnedTransaction, require_same_database, uncommitted
from antiphon.storage.threads import Threads


class DjangoSessions:
    """Runs plain handlers inside `atomic`: `Service("payments", store=..., sessions=DjangoSessions(using="default"))`.

    They ask for nothing: what they write through Django's models to that database, the mark that they ran and what
    they emit commit together when they return. `django.setup()` comes before the service starts.
    """

    kind: type | None = None
    is_plain = True

    def __init__(self, using: str = "default") -> None:
        self._using = using
        self._threads = Threads(close_all)
        self._store: Database | None = None

    async def open(self, store: Database) -> None:
        """As `Sessions.open`."""
        self._store = store
        tx = await self.begin()
        try:
            await require_same_database(tx, store, f"Django's database {self._using!r}")
        finally:
            await tx.rollback()

    async def close(self) -> None:
        """As `Sessions.close`: Django keeps a connection for each thread."""
        self._threads.close()

    async def begin(self) -> OwnedTransaction:
        """As `Sessions.begin`."""
        assert self._store is not None, "open() comes first"
        thread = self._threads.lend()
        try:
            session = await thread.call(lambda: _DjangoSession(self._using))
        except BaseException:
            self._threads.give_back(thread)
            raise
        tx = OwnedTransaction(Hopping(session, self._threads, thread), self._store)
        await tx.begin()
        return tx


class _Undone(Exception):  # noqa: N818 - it tells Django's block to roll back, and nobody else
    pass


class _DjangoSession(DjangoConnection):
    """As a `PlainSession`."""

    session: object = None

    def __init__(self, using: str) -> None:
        super().__init__(using)
        self._block: AbstractContextManager[None] | None = None

    def begin(self) -> None:
        self._database.close_if_unusable_or_obsolete()
        block = atomic(self._database.alias)
        try:
            block.__enter__()
        except refused() as error:
            raise self.explained(error, "begin a transaction") from error
        self._block = block

    def flush(self) -> None:
        if self._database.needs_rollback:
            raise ended(self.name, "set_rollback(True), or an error that was caught inside `atomic`")

    def commit(self) -> None:
        block, self._block = self._block, None
        try:
            if block is not None:
                block.__exit__(None, None, None)
        except refused() as error:
            raise self._uncommitted(error) from error

    def close(self) -> None:
        block, self._block = self._block, None
        try:
            if block is not None:
                block.__exit__(_Undone, _Undone(), None)
        except refused():
            self._database.close()  # then the server undoes it
        self._database.close_if_unusable_or_obsolete()

    def _uncommitted(self, error: Exception) -> StoreError:
        return uncommitted(self.explained(error, "commit"), error)
