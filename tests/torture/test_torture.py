"""The kill scenarios, 20 rounds each; `make torture` takes more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.torture import Tally, run, scenarios, tally

ROUNDS = 20


@pytest.mark.torture
@pytest.mark.parametrize("name", scenarios())
def test_killed_processes_lose_nothing_and_do_nothing_twice(name: str, tmp_path: Path) -> None:
    tally = run(scenarios()[name], ROUNDS, tmp_path)
    assert (tally.lost, tally.double) == (0, 0)


def test_a_loss_and_a_double_effect_are_counted() -> None:
    assert tally(["a", "b", "c"], Counter({"a": 1, "b": 3})) == Tally(lost=1, double=2)
