import pytest

from antiphon.storage.sqlite import SqliteDatabase


@pytest.fixture
async def database():
    """Open, without a file that anyone named."""
    database = SqliteDatabase(":memory:")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def tx(database):
    """A transaction with a table to write to, rolled back in the end."""
    async with database.transaction() as make:
        await make.execute("create table ledger (id integer primary key, entry text not null)")
    tx = await database.begin()
    yield tx
    await tx.rollback()
