"""Readers of streams in tests: they read and commit as services do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from antiphon.brokers.ports import Broker, Delivery
from antiphon.brokers.rabbitmq import RabbitLogBroker
from antiphon.brokers.rabbitmq.log_subscription import RabbitLogSubscription
from antiphon.errors import BrokerError
from tests.integration.rabbitmq.brokers import a_log
from tests.integration.rabbitmq.messages import ROOM, SOON


@asynccontextmanager
async def opened(url: str, prefix: str, **options: str) -> AsyncIterator[RabbitLogBroker]:
    broker = a_log(url, prefix, **{"lease": "3s", "grace": "2s", **options})
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


class Reading:
    """Reads and commits as a service does, whatever happens."""

    def __init__(self, subscription: RabbitLogSubscription, seen: list[Delivery]) -> None:
        self.subscription, self.seen = subscription, seen
        self.errors: list[BrokerError] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                deliveries = await self.subscription.fetch(100, ROOM, SOON)
                self.subscription.notices()
                if deliveries:
                    self.seen += deliveries
                    await self.subscription.commit({each.partition: each.position for each in deliveries})
            except BrokerError as error:
                self.errors.append(error)
                if not error.retryable:
                    raise
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.subscription.close()


def count_of(seen: list[Delivery]) -> int:
    return len({each.message.id for each in seen})


async def until_settled(broker: Broker, group: str) -> None:
    async with asyncio.timeout(30):
        while sum(lag.messages for lag in await broker.lag(group)):  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.1)
