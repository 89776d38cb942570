import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.storage.database import Migration
from antiphon.storage.sqlite import SqliteDatabase

CHILD = Path(__file__).with_name("child.py")
LEDGER = [Migration(1, "make_ledger", "create table ledger (id integer primary key, writer text, entry text)")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.db"


@pytest.fixture
async def opened(path):
    """Opens databases on `path`, each with the ledger's table, and closes them in the end."""
    databases = []

    async def open_one(**options):
        database = SqliteDatabase(path, **options)
        databases.append(database)
        await database.open()
        await database.migrate("ledger", LEDGER)
        return database

    yield open_one
    for database in databases:
        await database.close()


@pytest.fixture
def spawn():
    """Runs works of `child.py`, and ends in the end whatever still runs."""
    processes = []

    def start(*arguments):
        command = [sys.executable, str(CHILD), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
