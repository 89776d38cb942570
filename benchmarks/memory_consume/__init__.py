"""How much the runtime adds to decoding a message and awaiting its handler, with nothing on the disk."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module
from benchmarks.peers import peer, program


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("memory_consume.ours"),
        "twin": module("memory_consume.twin"),
        "peer": (str(peer("faststream")), str(program("faststream_consume"))),
    }


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_least("ours / FastStream's consume path", runs.ratio("peer"), 20),
    ]


BENCHMARK = Benchmark(
    name="memory-consume",
    question="typed no-op handler, memory log, keys in lanes, metrics on",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
