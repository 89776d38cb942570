"""Which measurements there are, in the order of the table."""

from __future__ import annotations

from importlib import import_module

from benchmarks.measure import Benchmark

NAMES = (
    "memory-consume",
    "embedded-publish",
    "embedded-consume",
    "embedded-effects",
    "effectively-once-sqlite",
    "effectively-once-postgres",
    "outbox-relay",
    "outbox-latency",
    "outbox-backlog",
    "policy-overhead",
    "poison",
    "redrive",
    "embedded-latency",
    "backlog-memory",
    "kafka-consume",
    "kafka-publish",
    "kafka-transactions",
    "kafka-latency",
    "nats-consume",
    "redis-consume",
    "rabbitmq-consume",
    "rabbitmq-streams-consume",
    "postgres-consume",
    "shop",
    "dead-letters-list",
    "import-time",
    "help-time",
)


def benchmark(name: str) -> Benchmark:
    """The measurement of this name. Raises KeyError when there is none."""
    if name not in NAMES:
        raise KeyError(name)
    found = import_module(f"benchmarks.{name.replace('-', '_')}").BENCHMARK
    assert isinstance(found, Benchmark)
    return found
