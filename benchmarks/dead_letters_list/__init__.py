"""How long it takes to look at 100,000 dead letters from the command line: the first of them, and all by failure."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("dead_letters_list.ours")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_most("list and --by-failure", runs.median("ours") / 1000, 1, "s"),
        at_most("parking one", runs.median("ours", "parking"), 500, "us"),
    ]


BENCHMARK = Benchmark(
    name="dead-letters-list",
    question="100,000 dead letters: list 100 and group all by failure, two commands with their start",
    unit="ms",
    sides=_sides,
    judge=_judge,
    rounds=3,
)
