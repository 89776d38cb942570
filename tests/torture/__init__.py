"""Which scenarios kill processes again and again, and what each may not lose or do twice.

A module of this folder named `scenario_*.py` registers its scenarios:

    @scenario
    def publish_survives_a_kill(rounds: int, folder: Path) -> Tally: ...

It works in `folder`, which is empty, kills real processes with SIGKILL `rounds` times, and counts.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import NamedTuple


class Tally(NamedTuple):
    """What one scenario found: confirmed work that was gone, and work that took effect more than once."""

    lost: int = 0
    double: int = 0


def tally(wanted: Iterable[str], found: Counter[str]) -> Tally:
    """What is wanted and was not found, and what was found again."""
    return Tally(lost=sum(not found[key] for key in wanted), double=sum(number - 1 for number in found.values()))


Scenario = Callable[[int, Path], Tally | Coroutine[object, object, Tally]]
_registered: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Register `function` under its name."""
    _registered[function.__name__] = function
    return function


def scenarios() -> dict[str, Scenario]:
    """Every scenario of this folder by name."""
    for path in sorted(Path(__file__).parent.glob("scenario_*.py")):
        importlib.import_module(f"{__name__}.{path.stem}")
    return dict(sorted(_registered.items()))


def run(function: Scenario, rounds: int, folder: Path) -> Tally:
    """Run one scenario to its end."""
    result = function(rounds, folder)
    return result if isinstance(result, Tally) else asyncio.run(result)
