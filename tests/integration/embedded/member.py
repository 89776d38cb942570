"""What a process of its own does with the log in these tests: one role, told on the command line, told back in JSON.

`python -m tests.integration.embedded.member ROLE PATH [SECONDS OF LEASE]`
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from datetime import timedelta
from itertools import count

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.embedded.subscription import EmbeddedSubscription
from antiphon.brokers.ports import Start, SubscribeOptions
from antiphon.errors import LeaseLostError
from tests.integration.embedded.messages import a_batch

GROUP, TOPIC = "readers", "orders"
ROOM = 1 << 24


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def publish(broker: EmbeddedBroker) -> None:
    """Publish batches for ever; tell of each once it is confirmed."""
    for number in count():
        batch = a_batch(TOPIC, 1 + number % 50)
        await broker.publish(batch)
        tell(confirmed=[message.id for _, message in batch])


async def consume(broker: EmbeddedBroker) -> None:
    """Read and commit for ever; tell of what was read before it is committed, and of what is owned."""
    subscription = await broker.subscribe(GROUP, [TOPIC], SubscribeOptions(lost=Start.START))
    tell(joined=time.time())
    while True:
        deliveries = await subscription.fetch(100, ROOM, timedelta(milliseconds=100))
        tell_notices(subscription)
        if deliveries:
            tell(read=[[d.partition.number, d.position, d.message.id] for d in deliveries], at=time.time())
            await subscription.commit({d.partition: d.position for d in deliveries})


async def effect(broker: EmbeddedBroker) -> None:
    """Write a row for each message in the transaction that moves the watermark, for ever."""
    subscription = await broker.subscribe(GROUP, [TOPIC])
    tell(joined=time.time())
    while True:
        deliveries = await subscription.fetch(20, ROOM, timedelta(seconds=1))
        subscription.notices()
        if deliveries:
            try:
                async with broker.database.transaction() as tx:
                    await tx.execute_many("insert into effects (id) values (?)", [(d.message.id,) for d in deliveries])
                    await subscription.commit_in(tx, {d.partition: d.position for d in deliveries})
            except LeaseLostError:
                tell(lost=True)


async def idle(broker: EmbeddedBroker) -> None:
    """Wait for messages that do not come; tell what share of a core that takes."""
    subscription = await broker.subscribe(GROUP, [TOPIC])
    await subscription.fetch(100, ROOM, timedelta(seconds=1))
    shares: list[float] = []
    for _ in range(8):
        began, used = time.perf_counter(), time.process_time()
        await subscription.fetch(100, ROOM, timedelta(seconds=1))
        shares.append((time.process_time() - used) / (time.perf_counter() - began))
    tell(share=min(shares))  # a busy machine adds to some, and takes from none


async def fork(broker: EmbeddedBroker) -> None:
    """As `consume`, with a child that outlives it, as those of a pool of processes do."""
    consuming = asyncio.create_task(consume(broker))
    while not await broker.groups():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    child = os.fork()
    if not child:
        os.close(1)
        signal.pause()
    tell(child=child)
    await consuming


def tell_notices(subscription: EmbeddedSubscription) -> None:
    for kind, partitions in subscription.notices():
        tell(notice=kind.value, partitions=[number for _, number in partitions], at=time.time())


async def main(role: str, path: str, lease: str = "10") -> None:
    broker = EmbeddedBroker(path, lease=timedelta(seconds=float(lease)))
    await broker.open()
    await {"publish": publish, "consume": consume, "effect": effect, "idle": idle, "fork": fork}[role](broker)
    await broker.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
