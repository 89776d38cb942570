"""How fast the relay alone moves what rests in PostgreSQL into the embedded log."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module
from benchmarks.peers import peer, program


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("outbox_relay.ours"),
        "twin": module("outbox_relay.twin"),
        "peer": _served("faststream-outbox", "faststream_outbox_relay"),
        "python-cqrs": _served("python-cqrs", "python_cqrs_relay"),
    }


def _served(environment: str, side: str) -> Command:
    return module("outbox_relay.served", str(peer(environment)), str(program(side)))


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_least("ours / faststream-outbox's relay", runs.ratio("peer"), 1),
        at_least("ours / python-cqrs's relay", runs.ratio("python-cqrs"), 1),
    ]


BENCHMARK = Benchmark(
    name="outbox-relay",
    question="the relay alone: events that were staged beforehand, from PostgreSQL into the embedded log",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
)
