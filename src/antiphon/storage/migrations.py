"""How do tables come to be, and how do they change, on files that several versions and processes share?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from antiphon.errors import DeclarationError, MigrationError, StatementError, StoreVersionError
from antiphon.storage.database import Migration, OpenTransaction, Row, SqlValue
from antiphon.storage.dialects import OTHERS, Dialect, PortableSql, spoken
from antiphon.storage.queries import load_queries

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class ScriptTransaction(OpenTransaction, Protocol):
    """A transaction that can run a migration's text, which holds several statements."""

    async def run_script(self, sql: str) -> None:
        """Run each statement of `sql` in turn."""
        ...


class MigratableDatabase(Protocol):
    """What applying migrations asks of a database."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def dialect(self) -> Dialect:
        """Whose words a migration is run in."""
        ...

    async def begin_migration(self) -> ScriptTransaction:
        """Begin a transaction during which nobody else migrates; what it reads is not older than its beginning."""
        ...

    async def fetch(self, sql: str, *args: SqlValue) -> list[Row]: ...


async def apply_migrations(database: MigratableDatabase, component: str, migrations: Sequence[Migration]) -> None:
    """As `Database.migrate`: each missing migration in a transaction of its own, in order of version."""
    queries = load_queries("antiphon.storage", "sql/migrations.sql")
    missing = await missing_migrations(database, component, migrations)
    if missing and not await database.fetch(queries["has_table"]):
        await _make_table(database, queries["make_table"])
    for migration in missing:
        await _apply(database, component, migration, migrations)


async def missing_migrations(
    database: MigratableDatabase, component: str, migrations: Sequence[Migration]
) -> Sequence[Migration]:
    """As `Database.missing`."""
    _require_order(component, [migration.version for migration in migrations])
    queries = load_queries("antiphon.storage", "sql/migrations.sql")
    has_table = await database.fetch(queries["has_table"])
    rows = await database.fetch(queries["applied"], component) if has_table else []
    return worded(migrations[_checked(database, rows, component, migrations) :], database.dialect)


def worded(migrations: Sequence[Migration], dialect: Dialect) -> Sequence[Migration]:
    """These with the texts that a database of this kind runs."""
    return [replace(migration, sql=spoken(migration.sql, dialect)) for migration in migrations]


def component_of(service: str) -> str:
    """What the tables of a service are called among all that have tables in a store."""
    return f"service:{service}"


@cache
def own_migrations() -> Sequence[Migration]:
    """Those of the tables that every store of ours has."""
    from importlib.resources import files  # only where a store is opened: it takes longer than all that is here

    return load_migrations(files("antiphon.storage").joinpath("sql").joinpath("migrations"))


def load_migrations(folder: Path | Traversable) -> Sequence[Migration]:
    """The migrations in the files `0001_name.sql`, `0002_name.sql`, ... of `folder`; other kinds of file are ignored.

    On PostgreSQL a file of the same name in its folder `postgres` is run instead of one. Raises DeclarationError for a
    missing folder, a gap, a number given twice, a bad name, an empty file, or one in `postgres` that stands for none.
    """
    if not folder.is_dir():
        raise DeclarationError(f"{folder}: there is no such folder of migrations")
    found = _load_all(folder)
    found.sort(key=lambda migration: (migration.version, migration.name))
    _require_order(str(folder), [migration.version for migration in found])
    for entry in folder.iterdir():
        for dialect in OTHERS:
            if entry.name == dialect and entry.is_dir():
                found = _with_wordings(found, dialect, _load_all(entry), str(entry))
    return tuple(found)


def checksum(migration: Migration, dialect: Dialect = "sqlite") -> str:
    """What tells whether a migration was changed after it was applied; line endings do not matter."""
    text = "\n".join(spoken(migration.sql, dialect).split("\r\n")).strip()
    return hashlib.sha256(text.encode()).hexdigest()


def _load_all(folder: Path | Traversable) -> list[Migration]:
    return [_load(file) for file in folder.iterdir() if file.name.endswith(".sql")]


def _with_wordings(
    migrations: Sequence[Migration], dialect: Dialect, others: Sequence[Migration], source: str
) -> list[Migration]:
    """These, each with its text in another dialect where there is one."""
    texts = {(other.version, other.name): other.sql for other in others}
    known = {(migration.version, migration.name) for migration in migrations}
    for version, name in texts:
        if (version, name) not in known:
            raise DeclarationError(
                f"{source}: {version:04}_{name}.sql stands for no file of that name in the folder above"
            )
    return [
        replace(migration, sql=PortableSql.of(migration.sql, {dialect: text})) if text is not None else migration
        for migration in migrations
        for text in [texts.get((migration.version, migration.name))]
    ]


def _load(file: Traversable) -> Migration:
    match = _FILE_NAME.fullmatch(file.name)
    if match is None:
        raise DeclarationError(f"{file}: a migration's file is named like 0001_make_ledger.sql: rename it")
    sql = file.read_text("utf-8")
    if not sql.strip():
        raise DeclarationError(f"{file}: the migration is empty")
    return Migration(int(match[1]), match[2], sql)


def _require_order(source: str, versions: Sequence[int]) -> None:
    if 0 in versions:
        raise DeclarationError(f"{source}: migrations count from 1, and one has number 0: give it another")
    for expected, version in enumerate(versions, start=1):
        if version < expected:
            raise DeclarationError(f"{source}: two migrations have number {version}: give one the next free number")
        if version > expected:
            raise DeclarationError(f"{source}: migration {expected} is missing before {version}: they count from 1")


async def _make_table(database: MigratableDatabase, make_table: str) -> None:
    tx = await database.begin_migration()
    try:
        await tx.execute(make_table)
        await tx.commit()
    finally:
        await tx.rollback()


async def _apply(
    database: MigratableDatabase, component: str, migration: Migration, migrations: Sequence[Migration]
) -> None:
    queries = load_queries("antiphon.storage", "sql/migrations.sql")
    tx = await database.begin_migration()
    try:
        # Another process may have been first; only under the lock is the answer final.
        rows = await tx.fetch(queries["applied"], component)
        if _checked(database, rows, component, migrations) >= migration.version:
            return
        # First of all, since it finds out whether the answer was true where what is read may be old.
        await tx.execute(
            queries["record"],
            component,
            migration.version,
            migration.name,
            checksum(migration, database.dialect),
            datetime.now(UTC).isoformat(),
        )
        await tx.run_script(migration.sql)
        await tx.commit()
    except StatementError as error:
        raise MigrationError(
            f"{database.name}: migration {migration.version} ({migration.name}) of {component!r} failed and was "
            f"undone: {error}"
        ) from error
    finally:
        await tx.rollback()


def _checked(database: MigratableDatabase, rows: Sequence[Row], component: str, migrations: Sequence[Migration]) -> int:
    """How many are applied, once it is certain that they are the first of `migrations`, unchanged."""
    if len(rows) > len(migrations):
        raise StoreVersionError(database.name, component, len(rows), len(migrations))
    for (version, _, found), migration in zip(rows, migrations, strict=False):
        if version != migration.version or found != checksum(migration, database.dialect):
            raise MigrationError(
                f"{database.name}: migration {migration.version} ({migration.name}) of {component!r} was changed "
                "after it was applied: restore its text, and put the change into a new migration"
            )
    return len(rows)
