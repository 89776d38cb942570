"""How fast dead letters go back to their handlers."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("redrive.ours"), "twin": module("redrive.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / moving the rows by hand", runs.ratio("twin"), 0.3)]


BENCHMARK = Benchmark(
    name="redrive",
    question="dead letters sent again and handled by a running service, on the embedded log",
    unit="letters/s",
    sides=_sides,
    judge=_judge,
)
