"""What `import antiphon` costs beside the imports that no such program can do without."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("import_time.side", "antiphon"),
        "twin": module("import_time.side", "asyncio", "sqlite3", "msgspec"),
    }


def _judge(runs: Runs) -> list[Check]:
    return [at_most("ours / (asyncio + sqlite3 + msgspec)", runs.ratio("twin"), 1.5)]


BENCHMARK = Benchmark(
    name="import-time",
    question="import antiphon",
    unit="ms",
    sides=_sides,
    judge=_judge,
)
