"""How much the runtime and the adapter add to reading NATS JetStream at least once."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.testing.servers import NatsServer
from benchmarks.measure import Benchmark, Check, Command, Runs, at_least, module
from benchmarks.peers import peer, program

COUNT, PEERS = 100_000, 10_000


def _sides() -> Mapping[str, Command]:
    return {
        "ours": module("reading", str(COUNT)),
        "twin": module("nats_consume.twin", str(COUNT)),
        "peer": (str(peer("faststream")), str(program("faststream_nats_consume")), str(PEERS)),
    }


def _judge(runs: Runs) -> list[Check]:
    return [
        at_least("ours / twin", runs.ratio("twin"), 0.6),
        at_least("ours / FastStream", runs.ratio("peer"), 1),
    ]


BENCHMARK = Benchmark(
    name="nats-consume",
    question="typed no-op handler, at least once, on NATS JetStream, metrics on",
    unit="messages/s",
    sides=_sides,
    judge=_judge,
    server=NatsServer,
    prepare=module("filling", str(COUNT)),
)
