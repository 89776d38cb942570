"""What every store promises: subclass `StoreConformance` and give it a fixture `database`.

```python
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.storage.database import Database
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.conformance.storage import StoreConformance


class TestMine(StoreConformance):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        database = self.file = SqliteDatabase(tmp_path / "store.db")
        await database.open()
        yield database
        await database.close()

    def beside(self, database: Database) -> Database:
        return SqliteDatabase(self.file.path)
```

Where a store's own words differ, such as the name of a column of bytes, a hook of the suite says so.
"""

from __future__ import annotations

from antiphon.testing.conformance.store_migrations import MigrationConformance
from antiphon.testing.conformance.store_statements import StatementConformance
from antiphon.testing.conformance.store_tables import TableConformance
from antiphon.testing.conformance.store_transactions import (
    CallbackConformance,
    CommitConformance,
    OpeningConformance,
    PartConformance,
)


class StoreConformance(
    StatementConformance,
    CommitConformance,
    PartConformance,
    CallbackConformance,
    OpeningConformance,
    MigrationConformance,
    TableConformance,
):
    """What holds for every `Database`."""
