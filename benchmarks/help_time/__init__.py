"""What `antiphon --help` costs beside the help of a Typer app with the same commands and nothing behind them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("help_time.side", "antiphon"), "twin": module("help_time.side", "benchmarks.help_time.bare")}


def _judge(runs: Runs) -> list[Check]:
    return [at_most("ours / a bare Typer app", runs.ratio("twin"), 1.3)]


BENCHMARK = Benchmark(
    name="help-time",
    question="antiphon --help",
    unit="ms",
    sides=_sides,
    judge=_judge,
)
