"""A server that was killed or stopped is told from one that refuses us, and everything goes on by itself after it."""

import asyncio

import pytest

from antiphon.errors import CommitUnknownError, StoreAccessError, StoreUnavailableError
from antiphon.storage.database import Migration
from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.servers import PostgresServer

LEDGER = Migration(1, "make_ledger", "create table ledger (entry text);")
INSERT = "insert into ledger values (?)"


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def database(server, request):
    database = PostgresDatabase(f"{server.url}?schema={request.node.name[:60]}&patience=20s")
    await database.open()
    await database.migrate("ledger", [LEDGER])
    yield database
    await database.close()


async def entries(database):
    return await database.fetch("select entry from ledger order by entry", row=str)


async def add(database, entry):
    """As a service does: again, until it is known to be there."""
    while True:
        try:
            async with database.transaction() as tx:
                await tx.execute("delete from ledger where entry = ?", entry)
                await tx.execute(INSERT, entry)
                return
        except (StoreUnavailableError, CommitUnknownError):
            await asyncio.sleep(0)


async def test_a_server_killed_in_a_transaction_loses_that_and_nothing_else(server, database):
    await add(database, "kept")
    tx = await database.begin()
    await tx.execute(INSERT, "lost")
    waiting = asyncio.create_task(tx.fetch("select pg_sleep(30)"))
    await asyncio.sleep(0.1)
    server.kill()
    with pytest.raises(StoreUnavailableError, match="connection was lost"):
        await waiting
    await tx.rollback()
    with pytest.raises(StoreUnavailableError):
        await database.fetch("select 1")
    server.start()
    assert await entries(database) == ["kept"]
    await add(database, "more")
    assert await entries(database) == ["kept", "more"]


async def test_what_writes_while_the_server_is_down_goes_on_by_itself(server, database):
    before = asyncio.gather(*(add(database, f"{number:02}") for number in range(30)))
    await asyncio.sleep(0.01)
    server.kill()
    await asyncio.sleep(0.5)
    server.start()
    async with asyncio.timeout(60):
        await before
    assert await entries(database) == [f"{number:02}" for number in range(30)]


async def test_after_a_restart_no_reader_and_no_writer_meets_a_dead_connection(server, database):
    held = [await database.begin() for _ in range(5)]
    for tx in held:
        await tx.rollback()
    server.stop()
    server.start()
    assert await entries(database) == []
    async with database.transaction() as tx:
        await tx.execute(INSERT, "a")
    assert await entries(database) == ["a"]


async def test_a_wrong_password_is_refused_and_no_password_is_ever_printed(server, database):
    async with database.transaction() as tx:
        await tx.run_script(
            "create role guarded login password 'r1ght-one'; grant create on database postgres to guarded;"
        )
    rules = server.data / "pg_hba.conf"
    open_to_all = rules.read_text()
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{open_to_all}")
    await database.fetch("select pg_reload_conf()")
    address = f"127.0.0.1:{server.port}/postgres?schema=guarded"
    for wrong in ("guarded:wr0ng-one@", "guarded@"):
        refused = PostgresDatabase(f"postgresql://{wrong}{address}")
        with pytest.raises(StoreAccessError, match="mend user, password and database") as caught:
            await refused.open()
        assert not caught.value.retryable
        assert "wr0ng-one" not in f"{caught.value}{refused!r}{refused.url}{refused.name}{caught.value.__cause__}"
    let_in = PostgresDatabase(f"postgresql://guarded:r1ght-one@{address}")
    await let_in.open()
    assert await let_in.fetch("select current_user, current_schema") == [("guarded", "guarded")]
    assert let_in.url == f"postgresql://guarded:***@{address}"
    assert "r1ght-one" not in f"{let_in!r}{let_in.name}{vars(let_in)}"
    await let_in.close()
    rules.write_text(open_to_all)
