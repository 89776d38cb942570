"""What `import antiphon` costs beside the imports that no such program can do without.

Names are loaded when they are first asked for, so the cost of all of them is shown as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("import_time.side", "antiphon"),
        "all names": module("import_time.side", "benchmarks.import_time.every_name"),
        "twin": module("import_time.side", "asyncio", "sqlite3", "msgspec"),
    }


def _judge(runs: Runs) -> list[Check]:
    every_name = runs.median("all names") / runs.median("twin")
    return [
        at_most("ours / (asyncio + sqlite3 + msgspec)", runs.ratio("twin"), 1.5),
        at_most("every public name / (asyncio + sqlite3 + msgspec)", every_name, 3),
    ]


BENCHMARK = Benchmark(
    name="import-time",
    question="import antiphon",
    unit="ms",
    sides=_sides,
    judge=_judge,
)
