"""How much the runtime adds to the shop: six services in processes of their own, choreographed over one file."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module


def _sides() -> Mapping[str, Command]:
    return {"ours": module("shop.ours"), "twin": module("shop.twin")}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.3)]


BENCHMARK = Benchmark(
    name="shop",
    question="the shop's choreography on one file, its services in processes of their own",
    unit="handled/s",
    sides=_sides,
    judge=_judge,
)
