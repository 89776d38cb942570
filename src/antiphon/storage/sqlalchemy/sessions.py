"""How does a handler get a session of SQLAlchemy, in whose transaction its mark and its events commit?"""

from __future__ import annotations

from collections.abc import Callable

from antiphon.errors import DeclarationError, StoreError
from antiphon.storage.database import Database
from antiphon.storage.endings import refused_ending
from antiphon.storage.sessions import (
    AwaitedSession,
    Hopping,
    OwnedTransaction,
    require_same_database,
    uncommitted,
)
from antiphon.storage.sqlalchemy.connections import AlchemyConnection, AsyncAlchemyConnection, explained
from antiphon.storage.sqlalchemy.driver import (
    AsyncSession,
    DriverError,
    Session,
    made_by,
    watch_commits,
)
from antiphon.storage.threads import Threads


class SqlAlchemySessions:
    """Gives handlers sessions of SQLAlchemy: `Service("payments", store=..., sessions=SqlAlchemySessions(maker))`.

    With an `async_sessionmaker` a handler that is a coroutine asks for its AsyncSession; with a `sessionmaker` a plain
    function asks for its Session, and runs in a thread. Each attempt has a session of its own, in a transaction that is
    begun: what the handler writes, the mark that it ran and what it emits commit together when it returns. The engine
    is not disposed of. Raises DeclarationError for what is no maker of sessions.
    """

    def __init__(self, maker: Callable[[], Session | AsyncSession]) -> None:
        made = made_by(maker)
        if made is None:
            raise DeclarationError(
                f"SqlAlchemySessions({maker!r}): give it an async_sessionmaker(engine) or a sessionmaker(engine)"
            )
        self._maker = maker
        self.kind: type | None = made
        self.is_plain = issubclass(made, Session)
        self._threads = Threads(lambda: None)
        self._store: Database | None = None

    async def open(self, store: Database) -> None:
        """As `Sessions.open`."""
        self._store = store
        tx = await self.begin()
        try:
            await require_same_database(tx, store, f"the engine of {self._maker!r}")
        finally:
            await tx.rollback()

    async def close(self) -> None:
        """As `Sessions.close`."""
        self._threads.close()

    async def begin(self) -> OwnedTransaction:
        """As `Sessions.begin`."""
        assert self._store is not None, "open() comes first"
        made = self._maker()
        session: AwaitedSession
        if isinstance(made, AsyncSession):
            session = _AsyncAlchemySession(made)
        else:
            session = Hopping(_AlchemySession(made), self._threads)
        tx = OwnedTransaction(session, self._store)
        await tx.begin()
        return tx


class _Guarded:
    """Refuses a session's commit until it is ours."""

    def __init__(self, session: Session, name: str) -> None:
        self.is_open, self._name = False, name
        watch_commits(session, self._require_open)

    def _require_open(self, session: Session) -> None:
        # The end of a part in it, as by begin_nested(), ends nothing else.
        if not self.is_open and not session.in_nested_transaction():
            raise refused_ending("commit()", self._name)


class _AlchemySession(AlchemyConnection):
    """As a `PlainSession`."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session: Session = session
        self._guarded = _Guarded(session, self.name)

    def begin(self) -> None:
        self.require_transaction()

    def flush(self) -> None:
        self.session.flush()

    def commit(self) -> None:
        self._guarded.is_open = True
        try:
            self.session.commit()
        except DriverError as error:
            raise self._uncommitted(error) from error

    def close(self) -> None:
        self.session.close()

    def _uncommitted(self, error: Exception) -> StoreError:
        return uncommitted(explained(self.dialect, error, self.name, "commit"), error)


class _AsyncAlchemySession(AsyncAlchemyConnection):
    """As an `AwaitedSession`."""

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session)
        self.session: AsyncSession = session
        self._guarded = _Guarded(session.sync_session, self.name)

    async def begin(self) -> None:
        self.require_transaction()

    async def flush(self) -> None:
        await self.session.flush()

    async def commit(self) -> None:
        self._guarded.is_open = True
        try:
            await self.session.commit()
        except DriverError as error:
            raise uncommitted(explained(self.dialect, error, self.name, "commit"), error) from error

    async def close(self) -> None:
        await self.session.close()
