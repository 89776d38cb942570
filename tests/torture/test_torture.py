"""The kill scenarios, 20 rounds each; `make torture` takes more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from antiphon.testing.servers import PostgresServer
from tests.torture import Tally, run, scenarios, tally
from tests.torture.scenario_bank import keep_books, schemas_of
from tests.torture.scenario_sessions import keep_books_over_sessions
from tests.torture.scenario_street import walk
from tests.torture.street import ONCE

ROUNDS = 20


@pytest.mark.torture
@pytest.mark.parametrize("name", scenarios())
def test_killed_processes_lose_nothing_and_do_nothing_twice(name: str, tmp_path: Path) -> None:
    tally = run(scenarios()[name], ROUNDS, tmp_path)
    assert (tally.lost, tally.double) == (0, 0)


@pytest.mark.torture
async def test_the_same_check_finds_doubles_where_settling_is_apart_from_the_effects(tmp_path: Path) -> None:
    found = await walk(3, tmp_path)
    assert found["apart"].double > 0
    assert found["shared"] == (0, 0)


@pytest.mark.torture
async def test_the_same_check_finds_doubles_where_the_inbox_is_off(tmp_path: Path) -> None:
    found = await walk(2, tmp_path, "--without-inbox")
    assert all(found[name].double > 0 for name in ONCE)


@pytest.mark.torture
async def test_the_same_check_finds_doubles_beside_the_log_where_the_inbox_is_off(tmp_path: Path) -> None:
    stores = [f"sqlite:///{tmp_path / name}.db" for name in ("transfers", "statements")]
    found = await keep_books(4, tmp_path, stores, "--without-inbox")
    assert found.lost == 0
    assert found.double > 0


@pytest.mark.torture
async def test_the_same_check_finds_doubles_on_postgres_where_the_inbox_is_off(tmp_path: Path) -> None:
    with PostgresServer(durable=True) as server:
        found = await keep_books(4, tmp_path, schemas_of(server), "--without-inbox")
    assert found.lost == 0
    assert found.double > 0


@pytest.mark.torture
async def test_the_same_check_finds_doubles_over_sessions_where_the_inbox_is_off(tmp_path: Path) -> None:
    found = await keep_books_over_sessions(4, tmp_path, "--without-inbox")
    assert all(each.lost == 0 for each in found.values())
    assert all(each.double > 0 for each in found.values())


def test_a_loss_and_a_double_effect_are_counted() -> None:
    assert tally(["a", "b", "c"], Counter({"a": 1, "b": 3})) == Tally(lost=1, double=2)
