"""A process that answers orders with payments in transactions, and dies at a point of one of them.

Its arguments: the cluster, its store, the point (or none), and how many times it passes that before it dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta

from antiphon import Key, Retry, Service, Struct, event
from antiphon.brokers.kafka import KafkaBroker, KafkaOptions
from antiphon.brokers.kafka.transacting import Transactions
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.connect import connect_store

OPTIONS = KafkaOptions(lease=timedelta(seconds=6), beat=timedelta(milliseconds=500), grace=timedelta(seconds=2))
POINTS = ("begun", "written", "moved", "committed")
"""Before anything is written, before the watermarks join, before the commit, and after it."""


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    number: int = 0


@event(topic="payments")
class PaymentTaken(Struct, frozen=True):
    order_id: Key[str]
    number: int = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, passes: int) -> None:
    """Let this process die when it comes to `point` for so many times."""
    before = {"begun": "_produce", "written": "_send_offsets", "moved": "_end", "committed": "_finish"}[point]
    inner: Callable[..., object] = getattr(Transactions, before)
    left = passes

    def dying(self: Transactions, *given: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            die()
        return inner(self, *given)

    setattr(Transactions, before, dying)


async def main(cluster: str, store: str) -> None:
    service = Service("payments", policy=Retry(immediate=0, delayed=0))

    @service.on(OrderPlaced, guarantee="effectively_once")
    async def take(order: OrderPlaced) -> PaymentTaken:
        return PaymentTaken(order.order_id, order.number)

    broker = KafkaBroker(cluster, OPTIONS)
    settings = Settings(common=ServiceSettings(broker=broker.url, fetch_messages=50, inflight_messages=50))
    await service.start(broker, settings, store=connect_store(store))
    await asyncio.Event().wait()


if __name__ == "__main__":
    address, own, where, count = sys.argv[1:]
    if where:
        die_at(where, int(count))
    asyncio.run(main(address, own))
