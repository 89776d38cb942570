"""Whether a million events that rest in the outbox cost the relay memory or speed."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, at_most, module

BACKLOG, SAMPLE = 1_000_000, 200_000


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("outbox_backlog.side", str(BACKLOG)),
        "short": module("outbox_backlog.side", str(SAMPLE)),
    }


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("a long backlog / a table without one", runs.ratio("short"), 0.9),
        at_most("growth of memory, the backlog being 900 MB", runs.median("ours", "grew_megabytes"), 20, "MB"),
    ]


BENCHMARK = Benchmark(
    name="outbox-backlog",
    question="a sample of 200,000 relayed from an outbox of 1,000,000, and from one that has no more than the sample",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    rounds=3,
)
