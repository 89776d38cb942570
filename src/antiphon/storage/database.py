"""What the rest asks of a database: one transaction in which everything commits together.

`execute` sends a statement on and returns nothing; `fetch` waits for rows. On SQLite both run inline on the
event loop's thread; elsewhere `execute` is pipelined. That is why `execute` has no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, TypeVar, overload

from msgspec import Struct

SqlValue = None | int | float | str | bytes
Row = tuple[SqlValue, ...]
T = TypeVar("T")

Isolation = Literal["read-committed", "repeatable-read", "serializable"]
"""What transactions that run at once do not see of each other, from the least to the most."""


class Migration(Struct, frozen=True):
    """One step forward of a component's tables. Applied once, in order of `version`, never changed afterwards."""

    version: int
    name: str
    sql: str


class Transaction(Protocol):
    """Writes that commit together or not at all. Used by one task at a time."""

    async def execute(self, sql: str, *args: SqlValue) -> None:
        """Send one statement; its failure may be raised here or at the next `fetch` or at the commit."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Send one statement for each row."""
        ...

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """All rows of one statement, as tuples or, with `row`, converted to that type.

        A struct is filled by the names of columns, a typed tuple by place, anything else from the only column.
        Raises StoreError, or SchemaError where a row does not fit.
        """
        ...

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        """As `fetch`, the first row or None."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once this has committed, in order of registration; never on rollback. It must not raise."""
        ...


class OpenTransaction(Transaction, Protocol):
    """A transaction in the hands of who began it: the runtime's side, which also ends it and undoes parts."""

    async def savepoint(self) -> None:
        """Begin a part that can be undone alone. Parts do not nest."""
        ...

    async def release(self) -> None:
        """Keep the part. Raises StoreError when a statement of it failed: then `undo` it, or roll back."""
        ...

    async def undo(self) -> None:
        """Undo the part: its writes, its failures and its `after_commit` callbacks; the transaction goes on."""
        ...

    async def commit(self) -> None:
        """Return when it is durable. Canceling waits for the end.

        Raises StoreError, and then nothing was written; but CommitUnknownError when all was written or nothing.
        """
        ...

    async def rollback(self) -> None:
        """Undo everything. Twice, or after a commit, is safe."""
        ...


class DatabaseCounters(Struct):
    """What a database did since it was opened; benchmarks and tests read it."""

    statements: int = 0
    commits: int = 0
    round_trips: int = 0
    """How often it waited for a server's answer; never, where there is no server."""


class Database(Protocol):
    """A place for tables. One value may be used by many tasks of one event loop at once."""

    @property
    def url(self) -> str: ...

    @property
    def counters(self) -> DatabaseCounters: ...

    @property
    def isolation(self) -> Isolation:
        """What its transactions do not see of each other."""
        ...

    @property
    def cheap_savepoints(self) -> bool:
        """Whether a part costs no round trip, so that each message may have its own.

        Elsewhere run many messages without parts while nothing fails, and all of them again, each in a part, when
        one does.
        """
        ...

    async def open(self) -> None:
        """Open, and bring Antiphon's own tables up to date. Raises StoreError. Twice is safe."""
        ...

    async def close(self) -> None:
        """Close; a running transaction is rolled back. Twice is safe."""
        ...

    async def migrate(self, component: str, migrations: Sequence[Migration]) -> None:
        """Apply what is missing, each once, under a lock; many processes may call it at once.

        Raises StoreVersionError when the tables are newer than `migrations`, MigrationError when one fails
        (everything of it is undone) or differs from what was applied under its number.
        """
        ...

    async def missing(self, component: str, migrations: Sequence[Migration]) -> Sequence[Migration]:
        """Those that `migrate` would apply, with the text that it would run; only reads, also before `open`.

        Raises as `migrate` does.
        """
        ...

    async def begin(self) -> OpenTransaction:
        """Begin a writing transaction; waits for its turn. The caller commits or rolls back."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """`async with`: commits at the end, rolls back on an exception."""
        ...

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """Read what is committed, beside any writer."""
        ...
