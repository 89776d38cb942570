"""How does a handler write over a session of the user's own, and the runtime in its transaction?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, runtime_checkable

from antiphon.errors import CommitUnknownError, StatementError, StoreError, UsageError
from antiphon.storage.database import Database, SqlValue, Transaction
from antiphon.storage.dialects import Dialect
from antiphon.storage.endings import ended
from antiphon.storage.faults import drivers_own, explain_wrapped
from antiphon.storage.joining import AwaitedConnection, JoinedTransaction, PlainConnection, Reply
from antiphon.storage.last_writes import LastWrites, Write
from antiphon.storage.queries import load_queries
from antiphon.storage.threads import LentThread, Threads

T = TypeVar("T")
_SQL = load_queries("antiphon.storage", "sql/sessions.sql")
_ABORTED = "25P02"


class SessionTransaction(Transaction, Protocol):
    """The transaction of a session that a handler is given; whoever began it ends it."""

    @property
    def session(self) -> object:
        """What the handler asks for."""
        ...

    async def call(self, work: Callable[[], T]) -> T:
        """What a plain function gives, called in the thread that the session belongs to."""
        ...

    async def guard(self) -> None:
        """Whoever ends the transaction from here on is found out."""
        ...

    async def require_unended(self) -> None:
        """Write what the session keeps back, and raise TransactionEndedError if it is another transaction by now.

        Raises what the session's library raises, too: the handler is to blame for it.
        """
        ...

    def explained(self, error: Exception) -> StoreError | None:
        """What an exception of the session's library, raised in a handler, means; None for any other."""
        ...

    async def commit(self) -> None:
        """As `OpenTransaction.commit`; the session is closed then."""
        ...

    async def rollback(self) -> None:
        """As `OpenTransaction.rollback`; the session is closed then."""
        ...


class Sessions(Protocol):
    """Gives each attempt of a handler a session of its own, on the database that is its service's store."""

    @property
    def kind(self) -> type | None:
        """What handlers ask for to get one; None: plain functions run in one without asking."""
        ...

    @property
    def is_plain(self) -> bool:
        """Whether it is for plain functions, in a thread, and not for coroutines."""
        ...

    async def open(self, store: Database) -> None:
        """Make ready for this store. Raises UsageError when the sessions are on another database, StoreError."""
        ...

    async def close(self) -> None:
        """Let go of what is kept between attempts. Twice is safe."""
        ...

    async def begin(self) -> SessionTransaction:
        """Begin a transaction in a new session. Raises StoreError."""
        ...


@runtime_checkable
class LendingDatabase(Protocol):
    """A store that gives handlers connections of its own driver."""

    def connections(self, *, plain: bool) -> Sessions:
        """Its connections, for plain functions or for coroutines."""
        ...


@runtime_checkable
class TakingTurns(Protocol):
    """A store with one writer at a time, who has to wait for its turn whatever connection it writes over."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Enter to wait, leave to let the next one in. Raises StoreUnavailableError."""
        ...


class PlainSession(PlainConnection, Protocol):
    """A session of one thread, as its library's adapter has it. Everything is called in that thread."""

    @property
    def session(self) -> object:
        """What the handler is given."""
        ...

    def begin(self) -> None:
        """Connect. Raises StoreError."""
        ...

    def flush(self) -> None:
        """Write what is kept back. Raises what the library raises."""
        ...

    def commit(self) -> None:
        """Commit. Raises StoreError."""
        ...

    def close(self) -> None:
        """Undo what was not committed, and let go of the connection. Twice is safe; raises nothing."""
        ...


class AwaitedSession(AwaitedConnection, Protocol):
    """The same for a session that is awaited."""

    @property
    def session(self) -> object: ...
    async def begin(self) -> None: ...
    async def flush(self) -> None: ...
    async def commit(self) -> None: ...
    async def close(self) -> None: ...


class Hopping:
    """A plain session as one that is awaited: each call is made in its thread."""

    def __init__(self, plain: PlainSession, threads: Threads, thread: LentThread | None = None) -> None:
        self._plain, self._threads = plain, threads
        self._thread: LentThread | None = thread or threads.lend()

    @property
    def session(self) -> object:
        return self._plain.session

    @property
    def dialect(self) -> Dialect:
        return self._plain.dialect

    @property
    def name(self) -> str:
        return self._plain.name

    def require_transaction(self) -> None: ...

    async def call(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError(f"{self.name} is closed: the handler that it was given to has ended")
        return await self._thread.call(work)

    async def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        return await self.call(lambda: self._plain.run(sql, args))

    async def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        await self.call(lambda: self._plain.run_many(sql, rows))

    async def begin(self) -> None:
        await self.call(self._plain.begin)

    async def flush(self) -> None:
        await self.call(self._plain.flush)

    async def commit(self) -> None:
        await self.call(self._plain.commit)

    async def close(self) -> None:
        if self._thread is not None:
            await self.call(self._plain.close)
            self._threads.give_back(self._thread)
            self._thread = None


class OwnedTransaction(JoinedTransaction):
    """As a `SessionTransaction`, over what a library's adapter makes."""

    def __init__(self, session: AwaitedSession, store: Database) -> None:
        super().__init__(session)
        self._session, self._store = session, store
        self._last_writes = LastWrites()
        self._turn = store.turn() if isinstance(store, TakingTurns) else None
        self._is_over = False

    @property
    def database(self) -> Database:
        """Where it writes."""
        return self._store

    @property
    def session(self) -> object:
        """As `SessionTransaction.session`."""
        return self._session.session

    def before_commit(self, write: Write[T], item: T) -> None:
        """As `PostgresTransaction.before_commit`; there are no parts."""
        self._last_writes.add(write, item)

    async def begin(self) -> None:
        """Wait for the turn, where there is one, and begin. Raises StoreError; UsageError on another database."""
        if self._turn is not None:
            await self._turn.__aenter__()
        try:
            await self._session.begin()
            # So that who writes second waits here, and is not refused later for having read first.
            await self._begin_writing()
        except BaseException:
            await self.rollback()
            raise

    async def _begin_writing(self) -> None:
        try:
            await self.execute(_SQL["begin_writing"])
        except StatementError:
            # Where our tables are missing it is rather the wrong database than one without them.
            await require_same_database(self, self._store, self._session.name)
            raise

    async def call(self, work: Callable[[], T]) -> T:
        """As `SessionTransaction.call`."""
        return await (self._session.call(work) if isinstance(self._session, Hopping) else asyncio.to_thread(work))

    async def guard(self) -> None:
        """As `SessionTransaction.guard`: a savepoint is gone when its transaction is."""
        await self.execute(_SQL["guard"])

    async def require_unended(self) -> None:
        """As `SessionTransaction.require_unended`."""
        await self._session.flush()
        try:
            await self.execute(_SQL["unguard"])
        except StoreError as error:
            if error.retryable or state_of(error) == _ABORTED:
                raise
            raise ended(self._session.name, error) from error

    def explained(self, error: Exception) -> StoreError | None:
        """As `SessionTransaction.explained`."""
        if isinstance(error, StoreError) or drivers_own(error) is None:
            return None
        return explain_wrapped(self._session.dialect, error, self._session.name, "run what the handler asked for")

    async def commit(self) -> None:
        """As `SessionTransaction.commit`."""
        await self._last_writes.run(self)
        await to_the_end(self._commit())
        self.committed()

    async def rollback(self) -> None:
        """As `SessionTransaction.rollback`. Twice, or after a commit, is safe."""
        if not self._is_over:
            await to_the_end(self._close())

    async def _commit(self) -> None:
        try:
            await self._session.commit()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._is_over = True
        try:
            await self._session.close()
        finally:
            if self._turn is not None:
                turn, self._turn = self._turn, None
                await turn.__aexit__(None, None, None)


def uncommitted(explained: StoreError, error: Exception) -> StoreError:
    """What a failed commit means: without an answer of the server nobody can say what became of it."""
    if explained.retryable and state_of(error) is None and not hasattr(drivers_own(error), "sqlite_errorcode"):
        return CommitUnknownError(f"{explained}; all was written or nothing: do it again, and let the inbox say which")
    return explained


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE of the driver's exception in this one."""
    state: object = getattr(drivers_own(error), "sqlstate", None)
    return state if isinstance(state, str) else None


async def require_same_database(tx: Transaction, store: Database, name: str) -> None:
    """Raise UsageError unless a session's transaction is on the database that is the service's store."""
    try:
        found = await tx.fetch(_SQL["identity"])
    except StoreError as error:
        if error.retryable:
            raise
        found = None
    if not found or found != await store.fetch(_SQL["identity"]):
        raise UsageError(
            f"{name} is on another database than the service's store, {store.url}, or on another schema of it, so that "
            "the mark of a message and what its handler writes could not commit together: give the service that "
            "database as store="
        )


async def to_the_end(work: Coroutine[object, object, None]) -> None:
    """Wait for it even when canceled meanwhile, so that its outcome is always known."""
    task = asyncio.create_task(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted from task.exception()
    task.result()
