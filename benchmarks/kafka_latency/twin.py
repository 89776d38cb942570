"""By hand: wait for a message, take all that came with it, decode, await the handler; commit now and then."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

import msgspec
from confluent_kafka import Consumer

from benchmarks.hand_kafka import PATIENCE, reader, type_of, writer
from benchmarks.kafka_latency.load import PROBE, PROBING, Arrivals, Load, begin_of, publisher
from benchmarks.kafka_latency.twin_publisher import publish
from benchmarks.order import Order

AT_ONCE, PACE = 1_000, 0.02
"""Messages taken at once, and seconds between two commits, as ours has them."""

decode = msgspec.json.Decoder(Order).decode


class Reading:
    """One consumer, and when it committed last."""

    def __init__(self, consumer: Consumer, arrivals: Arrivals) -> None:
        self.consumer, self.committed = consumer, 0.0
        self.arrivals = arrivals

    async def note(self, order: Order) -> None:
        self.arrivals.note(order.customer)

    async def step(self) -> None:
        """Handle what came, or return after a moment."""
        first = self.consumer.poll(PROBING)
        if first is None:
            return
        for message in [first, *self.consumer.consume(AT_ONCE, 0)]:
            if message.error() is None and type_of(message) == b"OrderPlaced":
                await self.note(decode(message.value() or b""))
        if perf_counter() - self.committed > PACE:
            self.consumer.commit(asynchronous=True)
            self.committed = perf_counter()


async def main(rate: float, url: str) -> None:
    arrivals = Arrivals(Load.of(rate))
    consumer, producer = reader(url, **{"auto.offset.reset": "latest"}), writer(url)
    consumer.subscribe(["orders"])
    reading = Reading(consumer, arrivals)
    while not arrivals.is_reading:
        publish(producer, [msgspec.json.decode(PROBE, type=Order)])
        await reading.step()
    producer.flush(PATIENCE)
    load = publisher("twin_publisher", rate, url)
    while not arrivals.everything.is_set() and not load.poll():
        await reading.step()
    consumer.commit(asynchronous=False)
    consumer.close()
    arrivals.report(begin_of(load))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2]))
