"""How do we write in a transaction that somebody else began, and ends?"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import cache
from typing import NamedTuple, Protocol, TypeVar, overload

from antiphon.errors import StoreError
from antiphon.storage.database import Row, SqlValue
from antiphon.storage.dialects import Dialect, spoken
from antiphon.storage.rows import convert_rows

T = TypeVar("T")
_MARK = re.compile(r"\?(\d*)")


class ColumnText(str):  # noqa: SLOT000 - a text has no room for slots
    """A text that is written into columns of other types, too, such as a UUID or JSON.

    Databases find out which. A library that tells them the types of values, as SQLAlchemy does, must not call it text.
    """


class Reply(NamedTuple):
    """What a statement returned: its rows, and the names of their columns."""

    rows: list[Row]
    columns: Sequence[str]


NOTHING = Reply([], ())


class Connection(Protocol):
    """A connection or session of the application's own, as far as we know it."""

    @property
    def dialect(self) -> Dialect:
        """Whose words it takes."""
        ...

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    def require_transaction(self) -> None:
        """Raise UsageError where it could not take back what is written now: it is closed, or commits by itself."""
        ...


class PlainConnection(Connection, Protocol):
    """One whose calls return when they are done, in the thread that makes them."""

    def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """Run one of our statements, in the words of its dialect. Raises StoreError."""
        ...

    def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """Run one for each row. Raises StoreError."""
        ...


class AwaitedConnection(Connection, Protocol):
    """One whose calls are awaited."""

    async def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `PlainConnection.run`."""
        ...

    async def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `PlainConnection.run_many`."""
        ...


class Inline:
    """A plain connection as one that is awaited: nothing of it suspends."""

    def __init__(self, plain: PlainConnection) -> None:
        self._plain = plain

    @property
    def dialect(self) -> Dialect:
        return self._plain.dialect

    @property
    def name(self) -> str:
        return self._plain.name

    def require_transaction(self) -> None:
        self._plain.require_transaction()

    async def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        return self._plain.run(sql, args)

    async def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        self._plain.run_many(sql, rows)


class JoinedTransaction:
    """A `Transaction` over a connection of the application's own, for our own statements. It ends nothing.

    Whoever ends it calls `committed` after its commit.
    """

    def __init__(self, connection: AwaitedConnection) -> None:
        self._connection = connection
        self._callbacks: list[Callable[[], None]] = []

    @property
    def connection(self) -> AwaitedConnection:
        """What it writes over."""
        return self._connection

    async def execute(self, sql: str, *args: SqlValue) -> None:
        """As `Transaction.execute`; it waits for the answer."""
        await self._run(sql, args)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """As `Transaction.execute_many`."""
        if values := list(rows):
            await self._connection.run_many(spoken(sql, self._connection.dialect), values)

    @overload
    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...
    @overload
    async def fetch(self, sql: str, *args: SqlValue, row: type[T]) -> list[T]: ...
    async def fetch(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> list[T] | list[Row]:
        """As `Transaction.fetch`."""
        rows, columns = await self._run(sql, args)
        return rows if row is None else convert_rows(rows, columns, row)

    @overload
    async def fetch_one(self, sql: str, *args: SqlValue) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, *args: SqlValue, row: type[T] | None = None) -> T | Row | None:
        """As `Transaction.fetch_one`."""
        rows, columns = await self._run(sql, args)
        if row is None or not rows:
            return rows[0] if rows else None
        return convert_rows(rows[:1], columns, row)[0]

    def after_commit(self, callback: Callable[[], None]) -> None:
        """As `Transaction.after_commit`, where whoever ends it says so."""
        self._callbacks.append(callback)

    def committed(self) -> None:
        """Call what was to be called after the commit, each once."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    async def _run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        return await self._connection.run(spoken(sql, self._connection.dialect), args)


def at_once(work: Coroutine[object, object, T]) -> T:
    """What a coroutine gives that has nothing to wait for, as over a plain connection."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise StoreError("a transaction that was to be written to at once had to wait: this is a defect of Antiphon")


@cache
def named(sql: str, mark: str, percent: str = "%") -> str:
    """One of our own statements with its values named: `mark` is how `p1` is written, as in ":{}" or "%({})s".

    Our statements have no question marks but those of values. `percent` is how a percent sign is written.
    """
    last = 0

    def name(found: re.Match[str]) -> str:
        nonlocal last
        number = int(found[1]) if found[1] else last + 1
        last = max(last, number)
        return mark.format(f"p{number}")

    return _MARK.sub(name, sql.replace("%", percent))


def by_name(args: Sequence[SqlValue]) -> dict[str, SqlValue]:
    """The values of a statement under the names that `named` gives them."""
    return {f"p{number}": value for number, value in enumerate(args, start=1)}
