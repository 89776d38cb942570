"""Does the shop conserve what it should on every broker, also while its services are killed?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from antiphon.brokers import connect
from antiphon.testing.servers import NatsServer
from examples.shop.brokers import NAMES, TOPICS
from examples.shop.demo import Result

ROOT = Path(__file__).parents[3]


def shop(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.shop", *map(str, arguments), "--json"]
    environment = None if path is None else {"PATH": path}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False, env=environment)


def conserved(done: subprocess.CompletedProcess[str]) -> Result:
    assert done.returncode == 0, done.stderr
    result = msgspec.json.decode(done.stdout, type=Result)
    assert (result.conserved, result.lost, result.double_effects, result.dead_letters) == (True, 0, 0, 0)
    assert result.confirmed + result.declined + result.out_of_stock + result.cancelled == result.orders
    assert min(result.confirmed, result.declined, result.out_of_stock, result.cancelled) > 0
    return result


def test_on_postgresql_everything_is_conserved() -> None:
    result = conserved(shop("--count", "300", "--broker", "postgresql"))
    assert (result.orders, result.redelivered) == (300, 0)
    assert result.duplicates >= 3 * 4, "three orders were sent twice, and four services read each"
    assert 0 < result.p50_ms <= result.p99_ms


@pytest.mark.parametrize("store", ["log", "postgres"])
@pytest.mark.at_length
def test_one_postgresql_may_carry_events_and_keep_the_tables(store: str) -> None:
    assert conserved(shop("--count", "300", "--broker", "postgres", "--store", store)).orders == 300


@pytest.mark.parametrize("broker", NAMES)
@pytest.mark.at_length
def test_on_every_broker_everything_is_conserved(broker: str) -> None:
    result = conserved(shop("--count", "600", "--broker", broker))
    assert (result.orders, result.kills) == (600, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", NAMES)
@pytest.mark.at_length
def test_on_every_broker_killing_services_loses_nothing_and_doubles_nothing(broker: str) -> None:
    result = conserved(shop("--count", "600", "--chaos", "--broker", broker))
    assert result.kills >= 30, "six services, each at least five times"
    assert result.redelivered > 0


@pytest.mark.at_length
def test_a_broker_of_the_users_is_sold_on_once_and_real_orders_are_taken_from_a_file(tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_text("InvoiceNo,InvoiceDate,CustomerID,TotalPrice\n536365,2010-12-01 08:26:00,17850,139.12\n")
    with NatsServer() as server:
        first = shop("--orders", orders, "--broker", server.url, "--store", "sqlite")
        assert first.returncode == 0, first.stderr
        again = shop("--orders", orders, "--broker", server.url)
        assert (again.returncode, again.stdout) == (2, "")
        assert "has the topics of a shop already (orders, products): end its URL with another namespace" in again.stderr
        elsewhere = shop("--orders", orders, "--broker", f"{server.url}/other")
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert asyncio.run(held(server.url)) >= len(TOPICS), "the topics stay, to be looked at"


async def held(url: str) -> int:
    broker = connect(url)
    await broker.open()
    try:
        return sum(topic.messages for topic in await broker.topics())
    finally:
        await broker.close()


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("kafak", "there is no broker 'kafak'; did you mean 'kafka'? Choose one that the demo starts (kafka, nats, "),
        ("mqtt://me:secret@host", "there is no broker 'mqtt://me:***@host'. Choose one"),
        ("redis://127.0.0.1:1", "redis://127.0.0.1:1"),
        ("nats://127.0.0.1?leese=2s", "no option 'leese'; did you mean 'lease'?"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_in_one_line(choice: str, said: str) -> None:
    done = shop("--count", "50", "--broker", choice)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_missing_is_told_with_how_to_install_it(tmp_path: Path) -> None:
    done = shop("--count", "50", "--broker", "kafka", path=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith("there is no Java for Kafka: install openjdk-17-jre-headless")
