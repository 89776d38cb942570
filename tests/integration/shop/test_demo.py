"""Does the shop's one command do what it promises, with processes, files, kills and wrong words?"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import msgspec
import pytest

from antiphon.storage.connect import connect_store
from antiphon.storage.sqlite import SqliteDatabase
from examples.shop.audit import read_ledgers
from examples.shop.demo import Result
from examples.shop.generator import write_invoices, write_lines
from examples.shop.verdict import judge

ROOT = Path(__file__).parents[3]
KEYS = [
    "orders",
    "refused",
    "confirmed",
    "declined",
    "out_of_stock",
    "cancelled",
    "events",
    "duplicates",
    "redelivered",
    "dead_letters",
    "lost",
    "double_effects",
    "conserved",
    "kills",
    "seconds",
    "events_per_second",
    "p50_ms",
    "p99_ms",
]


def shop(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.shop", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def result_of(done: subprocess.CompletedProcess[str], code: int = 0) -> Result:
    assert done.returncode == code, done.stderr
    [line] = done.stdout.splitlines()
    return msgspec.json.decode(line, type=Result)


def assert_conserved(result: Result) -> None:
    assert (result.conserved, result.lost, result.double_effects, result.dead_letters) == (True, 0, 0, 0)
    assert result.confirmed + result.declined + result.out_of_stock + result.cancelled == result.orders


@pytest.fixture
def real_orders(tmp_path: Path) -> tuple[Path, int]:
    """Real orders where ANTIPHON_DATA names their folder, else generated ones of the same shape; and their number."""
    given = os.environ.get("ANTIPHON_DATA")
    if given:
        return Path(given) / "online-retail-orders.csv", 18_532
    warnings.warn("ANTIPHON_DATA is not set: a generated file of orders is used", stacklevel=1)
    write_invoices(tmp_path / "orders.csv", 2_000, seed=7)
    return tmp_path / "orders.csv", 2_000


@pytest.fixture
def real_lines(tmp_path: Path) -> Path:
    given = os.environ.get("ANTIPHON_DATA")
    if given:
        return Path(given) / "online-retail-lines.csv"
    warnings.warn("ANTIPHON_DATA is not set: a generated file of lines is used", stacklevel=1)
    write_lines(tmp_path / "lines.csv", 60, seed=7)
    return tmp_path / "lines.csv"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the user can reach as whom a server runs that root starts."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_run_prints_one_object_with_every_key_and_conserves_everything() -> None:
    done = shop("--count", "600", "--json")
    result = result_of(done)
    assert list(msgspec.json.decode(done.stdout)) == KEYS
    assert_conserved(result)
    assert (result.orders, result.refused, result.kills) == (600, 0, 0)
    assert min(result.confirmed, result.declined, result.out_of_stock, result.cancelled) > 0
    assert result.duplicates >= 6 * 4, "six were sent twice, and four services read each; more may be repeated"
    assert result.events > 10 * result.orders
    assert 0 < result.p50_ms <= result.p99_ms


@pytest.mark.filterwarnings("default:ANTIPHON_DATA")
def test_real_orders_are_all_taken(real_orders: tuple[Path, int]) -> None:
    path, count = real_orders
    result = result_of(shop("--orders", path, "--json"))
    assert_conserved(result)
    assert (result.orders, result.refused) == (count, 0)


@pytest.mark.filterwarnings("default:ANTIPHON_DATA")
def test_lines_of_invoices_are_grouped_and_returns_refused_by_reason(real_lines: Path) -> None:
    done = shop("--orders", real_lines, "--json")
    result = result_of(done)
    assert_conserved(result)
    assert result.orders > 0
    assert result.refused > 0
    assert f"{real_lines.name}, line " in done.stderr
    assert "column InvoiceNo: return: " in done.stderr
    assert "no customer" in done.stderr


def test_killing_services_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    result = result_of(shop("--count", "4000", "--chaos", "--json", "--folder", tmp_path / "shop"))
    assert_conserved(result)
    assert result.kills >= 30, "six services, each at least five times"
    assert result.kills >= result.seconds
    assert result.redelivered > 0


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_services_with_stores_of_their_own_conserve_everything(store: str, tmp_path: Path) -> None:
    result = result_of(shop("--count", "300", "--store", store, "--json", "--folder", tmp_path))
    assert_conserved(result)
    assert (result.orders, result.kills) == (300, 0)
    assert min(result.confirmed, result.declined, result.out_of_stock, result.cancelled) > 0
    assert result.duplicates >= 3 * 4, "three orders were sent twice, and four services read each"
    assert 0 < result.p50_ms <= result.p99_ms
    assert services_on(tmp_path) == []
    assert tables_of(tmp_path / "shop.db", "storefront_orders", "orders_states") == ["storefront_orders"]


def test_killing_services_with_stores_of_their_own_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    result = result_of(shop("--count", "600", "--chaos", "--store", "postgres", "--json", "--folder", tmp_path))
    assert_conserved(result)
    assert result.kills >= 30, "six services, each at least five times"
    assert services_on(tmp_path) == []


def test_a_server_of_the_users_holds_one_shop_whose_schemas_stay(postgres_url: str) -> None:
    first = result_of(shop("--count", "50", "--store", postgres_url, "--json"))
    assert_conserved(first)
    again = shop("--count", "50", "--store", postgres_url, "--json")
    assert (again.returncode, again.stdout) == (2, "")
    assert "holds a shop already" in again.stderr
    assert f'drop schema if exists "{postgres_url.partition("?schema=")[2]}_orders"' in again.stderr

    async def confirmed() -> int:
        database = connect_store(f"{postgres_url}_orders")
        await database.open()
        try:
            found = await database.fetch("select count(*) from orders_states where state = 'shipped'", row=int)
            return found[0]
        finally:
            await database.close()

    assert asyncio.run(confirmed()) == first.confirmed


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("postgress", "there is no store 'postgress'; did you mean 'postgres'?"),
        ("postgresql://127.0.0.1:1/shop?patience=1s", "127.0.0.1:1/shop"),
        ("postgresql://127.0.0.1/shop?isolation=none", "isolation is one of"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_one_line(store: str, said: str) -> None:
    done = shop("--count", "50", "--store", store, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_demo_ends_its_server_and_its_services_end_too(how: signal.Signals, open_folder: Path) -> None:
    command = [sys.executable, "-m", "examples.shop", "--count", "50000", "--store", "postgres"]
    temporary = {**os.environ, "TMPDIR": str(open_folder)}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=temporary
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("selling"):
                break
        assert servers_in(open_folder)
        running.send_signal(how)
        rest = running.stdout.read()
        assert running.wait(30) == (-how if how is signal.SIGKILL else 130)
    assert "Traceback" not in rest
    assert_soon_nothing_runs(open_folder, within=30.0 if how is signal.SIGKILL else 0.0)
    assert how is signal.SIGKILL or list(open_folder.iterdir()) == []


def test_a_kept_folder_can_be_audited_again_and_is_not_used_twice(tmp_path: Path) -> None:
    first = result_of(shop("--count", "50", "--json", "--folder", tmp_path))
    again = shop("--count", "50", "--json", "--folder", tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert "holds a shop already" in again.stderr

    async def audit() -> int:
        database = SqliteDatabase(tmp_path / "shop.db")
        await database.open()
        try:
            return judge(await read_ledgers(database)).confirmed
        finally:
            await database.close()

    assert asyncio.run(audit()) == first.confirmed


def test_without_a_terminal_each_stage_is_a_line_and_the_end_a_table() -> None:
    done = shop("--count", "50")
    assert done.returncode == 0
    assert "selling at full speed\n" in done.stdout
    assert "Conserved: every order ended in exactly one way" in done.stdout
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty file"), (b"a;b\n1;2\n", "unknown header"), (b"\xff\xfeI\x00n\x00", "wrong encoding")],
)
def test_a_file_without_orders_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "bad.csv").write_bytes(data)
    done = shop("--orders", tmp_path / "bad.csv", "--json")
    result = result_of(done, code=1)
    assert (result.orders, result.refused) == (0, 1)
    assert "bad.csv, line 1" in done.stderr
    assert reason in done.stderr


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    done = shop("--orders", tmp_path / "none.csv", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"shop: cannot use {tmp_path / 'none.csv'}: No such file or directory"


def test_ctrl_c_stops_everything_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.shop", "--count", "50000", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("selling"):
                break
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        assert running.wait(30) == 130
    assert "stopped" in rest
    assert "Traceback" not in rest
    assert services_on(tmp_path) == []


def services_on(folder: Path) -> list[str]:
    """The processes that still run on a folder's shop."""
    return [number for number, words in commands_on(folder) if b"examples.shop.process" in words]


def servers_in(folder: Path) -> list[str]:
    """The processes of PostgreSQL whose data is in a folder."""
    return [number for number, words in commands_on(folder) if words[0].endswith(b"/postgres")]


def commands_on(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """The processes whose command names something in a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(folder).encode() in word for word in words):
            yield path.parent.name, words


def assert_soon_nothing_runs(folder: Path, *, within: float) -> None:
    """Services whose starter was killed drain before they end."""
    deadline = perf_counter() + within
    while (left := [*services_on(folder), *servers_in(folder)]) and perf_counter() < deadline:
        sleep(0.1)
    assert left == []


def tables_of(file: Path, *names: str) -> list[str]:
    """Which of these tables a file holds."""
    with closing(sqlite3.connect(file)) as connection:
        held = {name for (name,) in connection.execute("select name from sqlite_master")}
    return [name for name in names if name in held]
