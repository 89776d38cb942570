"""How much memory a service holds while it works through a backlog that it could never hold at once."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_most, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("backlog_memory.ours")}


def _judge(runs: Runs) -> list[Check]:
    return [
        at_most("most resident", runs.median("ours"), 150, "MB"),
        at_most("last quarter / first quarter", runs.median("ours", "growth"), 1.1),
    ]


BENCHMARK = Benchmark(
    name="backlog-memory",
    question="embedded, while 1,000,000 messages wait",
    unit="MB resident",
    sides=_sides,
    judge=_judge,
    rounds=1,
)
