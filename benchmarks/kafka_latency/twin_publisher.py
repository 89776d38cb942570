"""By hand: at each beat encode what is due and let the driver send it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from antiphon.events.ids import new_id
from benchmarks.data import orders
from benchmarks.hand_kafka import PATIENCE, headers_of, writer
from benchmarks.kafka_latency.load import PROBE, Load
from benchmarks.order import Order

encode = msgspec.json.Encoder().encode


def confirmed(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise SystemExit(f"one was not confirmed: {error}")


def publish(producer: Producer, events: Sequence[Order]) -> None:
    """Send these on their way, and hear what became of earlier ones."""
    now = datetime.now(UTC)
    for event in events:
        key = event.order_id.encode()
        headers = headers_of(new_id(), b"OrderPlaced", key, now)
        producer.produce("orders", encode(event), key, on_delivery=confirmed, headers=headers)
    producer.poll(0)


async def main(load: Load, url: str) -> None:
    events = [msgspec.json.decode(data, type=Order) for data in orders(load.count)]
    producer = writer(url)
    publish(producer, [msgspec.json.decode(PROBE, type=Order)])
    producer.flush(PATIENCE)  # so that it is connected
    async for due in load.beats():
        publish(producer, events[due.start : due.stop])
    if producer.flush(PATIENCE):
        raise SystemExit("some were not confirmed")


if __name__ == "__main__":
    asyncio.run(main(Load.of(float(sys.argv[1])), sys.argv[2]))
