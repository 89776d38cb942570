"""How much the others suffer when one message of a hundred is rejected."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("poison.side", "plain", "poisoned"),
        "twin": module("poison.side", "plain", "clean"),
        "effects": module("poison.side", "effects", "poisoned"),
        "clean effects": module("poison.side", "effects", "clean"),
    }


def _judge(runs: Runs) -> list[Check]:
    effects = runs.median("effects") / runs.median("clean effects")
    return [
        at_least("plain consume, the rest / nothing rejected", runs.ratio("twin"), 0.7),
        at_least("with effects, the rest / nothing rejected", effects, 0.9),
    ]


BENCHMARK = Benchmark(
    name="poison",
    question="1 % of the messages are rejected and parked: how fast go the others",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
