"""A test's server ends with the last one that uses it, and with a test that is killed."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.servers import ServerError, ServerProcess, shared_server

USER = """
import sys, time
from pathlib import Path
from antiphon.testing.servers import shared_server
with shared_server("postgres", Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""
SERVER = """
import time
from antiphon.testing.servers import PostgresServer
server = PostgresServer()
server.start()
print(server.pid, server.data, flush=True)
time.sleep(60)
"""


def process(code, *args):
    return subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True)


def is_there(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(pid):
    deadline = time.monotonic() + 20
    while is_there(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)


async def data_of(url):
    database = PostgresDatabase(url)
    await database.open()
    ((data,),) = await database.fetch("show data_directory")
    await database.close()
    return Path(data)


def test_a_server_ends_with_the_process_that_started_it():
    starter = process(SERVER)
    pid, data = starter.stdout.readline().split()
    assert is_there(pid)
    starter.kill()
    starter.communicate()
    wait_until_gone(pid)
    shutil.rmtree(Path(data).parent)


def test_many_processes_share_one_server_until_the_last_of_them_is_killed(tmp_path):
    users = [process(USER, str(tmp_path / "shared")) for _ in range(3)]
    urls = {user.stdout.readline() for user in users}
    assert len(urls) == 1
    keeper = tmp_path / "shared" / "keeper.pid"
    pid = int(keeper.read_text())
    for user in users[:2]:
        user.kill()
        user.communicate()
    time.sleep(0.3)
    assert is_there(pid)
    users[2].kill()
    users[2].communicate()
    wait_until_gone(pid)


def test_after_the_last_one_left_the_next_one_gets_a_server_of_its_own(tmp_path):
    with shared_server("postgres", tmp_path / "shared") as first:
        pid = int((tmp_path / "shared" / "keeper.pid").read_text())
    with shared_server("postgres", tmp_path / "shared") as second:
        assert first.startswith("postgresql://postgres@127.0.0.1:")
        assert second.startswith("postgresql://postgres@127.0.0.1:")
        data = asyncio.run(data_of(second))
        keeper = int((tmp_path / "shared" / "keeper.pid").read_text())
        os.kill(keeper, signal.SIGKILL)
        wait_until_gone(keeper)
        with shared_server("postgres", tmp_path / "shared") as third:
            assert third != second
        shutil.rmtree(data.parent)
    wait_until_gone(pid)


def test_an_unknown_kind_and_a_server_that_ends_at_once_say_why(tmp_path):
    with pytest.raises(ServerError, match="no server called 'oracle'"), shared_server("oracle", tmp_path / "shared"):
        pass
    server = ServerProcess("false", tmp_path / "log")
    with pytest.raises(ServerError, match="it is not to be") as caught:
        server.start(["sh", "-c", "echo it is not to be; exit 3"], lambda: False)
    assert "ended with 3" in str(caught.value)
