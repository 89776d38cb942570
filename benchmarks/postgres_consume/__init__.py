"""How much the runtime and the adapter add to reading the log in PostgreSQL at least once."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import PostgresServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module

COUNT = 200_000


def _sides() -> Mapping[str, Command]:
    return {"ours": module("reading", str(COUNT)), "twin": module("postgres_consume.twin", str(COUNT))}


def _judge(runs: Runs) -> list[Check]:
    return [at_least("ours / twin", runs.ratio("twin"), 0.6)]


BENCHMARK = Benchmark(
    name="postgres-consume",
    question="typed no-op handler, at least once, on the log in PostgreSQL, metrics on",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=lambda: PostgresServer(durable=True),
    prepare=module("filling", str(COUNT)),
)
