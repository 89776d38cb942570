"""By hand: take a batch, produce an event of each, and commit those with the batch's positions in one transaction.

As the driver's manual has it: one loop, one producer. The batches are as large as pays. The clock runs from the order
after the first WARM_UP, so that nobody is charged for the cluster's first transaction.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4

import msgspec
from confluent_kafka import Consumer, Message, Producer

from antiphon.events.ids import repeatable_id
from benchmarks.hand_kafka import PATIENCE, PAYMENTS, committed, ends, headers_of, read_since, reader, writer
from benchmarks.hand_outbox import PaymentAuthorised
from benchmarks.measure import report
from benchmarks.order import Order

BATCH, WARM_UP = 5_000, 20_000

decode = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode
handled, began = 0, 0.0


async def authorise(order: Order) -> PaymentAuthorised:
    global handled, began  # noqa: PLW0603  # the shortest counter there is
    handled += 1
    if handled == WARM_UP:
        began = perf_counter()
    return PaymentAuthorised(order.order_id, int(order.total * 100))


async def transform(producer: Producer, messages: Iterable[Message]) -> None:
    """Produce a payment for each order among these."""
    now = datetime.now(UTC)
    for message in messages:
        headers: Mapping[str, str | bytes | None] = dict(message.headers() or ())
        cause = headers.get("ce_id")
        if message.error() is not None or headers.get("ce_type") != b"OrderPlaced" or not isinstance(cause, bytes):
            continue
        payment = await authorise(decode(message.value() or b""))
        key = payment.order_id.encode()
        id = repeatable_id(cause.decode(), "shop", "authorise", 0)
        envelope = headers_of(id, b"PaymentAuthorised", key, now, cause)
        producer.produce(PAYMENTS, encode(payment), key, headers=envelope)


async def consume(consumer: Consumer, producer: Producer, count: int) -> None:
    """Until `count` were handled."""
    while handled < count:
        if messages := consumer.consume(BATCH, 0.1):
            producer.begin_transaction()
            await transform(producer, messages)
            places = consumer.position(consumer.assignment())
            producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), PATIENCE)
            producer.commit_transaction(PATIENCE)  # raises when anything was not held


async def main(count: int, url: str) -> None:
    looker = reader(url)
    before = ends(looker, PAYMENTS)
    consumer, producer = reader(url), writer(url, **{"transactional.id": f"twin-{uuid4().hex}"})
    producer.init_transactions(PATIENCE)
    consumer.subscribe(["orders"])
    await consume(consumer, producer, count)
    passed = committed(consumer, "orders")
    consumer.close()
    seconds = perf_counter() - began
    done = min(passed, read_since(looker, PAYMENTS, before))
    report(count - WARM_UP, seconds, done=done - WARM_UP)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
