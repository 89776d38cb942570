"""By hand: encode a batch, give each an id and an envelope, let the driver send it, wait until all are confirmed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from antiphon.events.ids import new_id
from benchmarks.data import orders
from benchmarks.hand_kafka import PATIENCE, ends, headers_of, reader, writer
from benchmarks.measure import report
from benchmarks.order import Order

BATCH, WARM_UP = 1_000, 2

encode = msgspec.json.Encoder().encode


def publish(producer: Producer, events: Sequence[Order]) -> None:
    """Return when the cluster holds them all."""
    failures: list[KafkaError] = []

    def confirmed(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    now = datetime.now(UTC)
    for event in events:
        key = event.order_id.encode()
        headers = headers_of(new_id(), b"OrderPlaced", key, now)
        producer.produce("orders", encode(event), key, on_delivery=confirmed, headers=headers)
    if producer.flush(PATIENCE) or failures:
        raise SystemExit(f"{len(failures)} were not confirmed")


def main(count: int, url: str) -> None:
    events = [msgspec.json.decode(data, type=Order) for data in orders(count)]
    producer, looker = writer(url), reader(url)
    for _ in range(WARM_UP):
        publish(producer, events[:BATCH])
    before = sum(ends(looker, "orders"))
    started = perf_counter()
    for start in range(0, count, BATCH):
        publish(producer, events[start : start + BATCH])
    seconds = perf_counter() - started
    done = sum(ends(looker, "orders")) - before
    looker.close()
    report(count, seconds, done=done)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
