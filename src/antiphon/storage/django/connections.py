"""How do we write over a connection of Django that is the application's, inside its `atomic`?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from antiphon.errors import StoreError, UsageError
from antiphon.storage.database import Row, SqlValue
from antiphon.storage.dialects import Dialect
from antiphon.storage.django.driver import DjangoDatabase, database, refused
from antiphon.storage.faults import explain_wrapped
from antiphon.storage.joining import Reply, by_name, named
from antiphon.storage.statements import shorten

_DIALECTS: Mapping[str, Dialect] = {"sqlite": "sqlite", "postgresql": "postgres"}


class DjangoConnection:
    """As a `PlainConnection`, over the alias of a database, or a connection of Django."""

    def __init__(self, connection: object) -> None:
        self._database = database(connection) if isinstance(connection, str) else cast("DjangoDatabase", connection)
        self.name = f"Django's database {self._database.alias!r}"
        dialect = _DIALECTS.get(self._database.vendor)
        if dialect is None:
            found, known = self._database.vendor, " and ".join(sorted(_DIALECTS))
            raise UsageError(f"{self.name} is on {found!r}: Antiphon keeps tables in {known} only")
        self.dialect: Dialect = dialect

    def require_transaction(self) -> None:
        """As `Connection.require_transaction`."""
        try:
            # Without the autocommit that is Django's rule, somebody else has to end what is begun.
            commits = not self._database.in_atomic_block and self._database.get_autocommit()
        except refused() as error:
            raise UsageError(f"{self.name} cannot be used here: {error}") from error
        if commits:
            raise UsageError(
                f"{self.name} is in no transaction, so that nothing could take back what is written: do it "
                "inside `with transaction.atomic():`"
            )

    def run(self, sql: str, args: Sequence[SqlValue]) -> Reply:
        """As `PlainConnection.run`."""
        try:
            with self._database.cursor() as cursor:
                cursor.execute(named(sql, "%({})s", "%%"), by_name(args))
                found = cursor.description
                rows = cursor.fetchall() if found is not None else []
        except refused() as error:
            raise self.explained(error, f"run {shorten(sql)!r}") from error
        return Reply(cast("list[Row]", rows), [str(column[0]) for column in found or ()])

    def run_many(self, sql: str, rows: Sequence[Sequence[SqlValue]]) -> None:
        """As `PlainConnection.run_many`."""
        try:
            with self._database.cursor() as cursor:
                cursor.executemany(named(sql, "%({})s", "%%"), [by_name(row) for row in rows])
        except refused() as error:
            raise self.explained(error, f"run {shorten(sql)!r}") from error

    def explained(self, error: Exception, tried: str) -> StoreError:
        """Our error for one of Django's."""
        return explain_wrapped(self.dialect, error, self.name, tried)
