"""By hand: a queue and a task for each lane, so that no lane waits for another; decode, await, move the watermark."""

from __future__ import annotations

import asyncio
from time import perf_counter
from zlib import crc32

import msgspec

from benchmarks.data import key_of, orders
from benchmarks.measure import report
from benchmarks.order import Order

COUNT, BATCH, LANES = 300_000, 500, 16


decode = msgspec.json.Decoder(Order).decode


class Consumer:
    """What is done is kept until everything before it is done, too: only then may the watermark pass it."""

    def __init__(self) -> None:
        self.lanes = [asyncio.Queue[tuple[int, bytes]](BATCH) for _ in range(LANES)]
        self.done: set[int] = set()
        self.handled = self.watermark = 0

    async def handle(self, order: Order) -> None:
        self.handled += 1

    async def work(self, lane: asyncio.Queue[tuple[int, bytes]]) -> None:
        while True:
            position, data = await lane.get()
            await self.handle(decode(data))
            self.done.add(position)
            lane.task_done()

    async def consume(self, log: list[tuple[bytes, bytes]]) -> None:
        workers = [asyncio.create_task(self.work(lane)) for lane in self.lanes]
        for start in range(0, len(log), BATCH):
            for position, (key, data) in enumerate(log[start : start + BATCH], start):
                await self.lanes[crc32(key) % LANES].put((position, data))
            self.commit()
        for lane in self.lanes:
            await lane.join()
        self.commit()
        for worker in workers:
            worker.cancel()

    def commit(self) -> None:
        while self.watermark in self.done:
            self.done.remove(self.watermark)
            self.watermark += 1


async def main() -> None:
    log = [(key_of(number).encode(), data) for number, data in enumerate(orders(COUNT))]
    consumer = Consumer()
    started = perf_counter()
    await consumer.consume(log)
    report(COUNT, perf_counter() - started, done=min(consumer.handled, consumer.watermark))


if __name__ == "__main__":
    asyncio.run(main())
