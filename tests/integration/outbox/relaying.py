"""A broker in memory and relays for it, of whatever outbox a test is about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import PublishError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Message, Outgoing
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.runtime.sending import Sending
from antiphon.storage.database import Database
from antiphon.storage.outboxes import OutboxTable


class Desk:
    """Where everything published lands, and who publishes it there."""

    def __init__(self, store: Database, outbox: OutboxTable | None) -> None:
        self.store, self.outbox, self.clock = store, outbox, SystemClock()
        self.published: list[Outgoing] = []
        self.broker = MemoryBroker(refuse=self.refuse)

    def refuse(self, outgoing: Outgoing) -> str | None:
        return "too large" if outgoing.message.type == "Huge" else None

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        refused: set[str] = set()
        try:
            await self.broker.publish(outgoing)
        except PublishError as error:
            refused = {each.message_id for each in error.refusals}
            raise
        finally:
            self.published += [each for each in outgoing if each.message.id not in refused]

    @asynccontextmanager
    async def relaying(
        self, publish: Callable[[Sequence[Outgoing]], Awaitable[None]] | None = None
    ) -> AsyncGenerator[Relay]:
        metrics = Metrics(service="desk")
        sending = Sending("desk", self.broker, metrics, Hooks(metrics))
        relay = Relay(publish or self.publish, self.store, self.clock, metrics, sending, outbox=self.outbox)
        await relay.start()
        try:
            yield relay
        finally:
            await relay.drain()

    async def stage(self, *messages: Message, topic: str = "orders") -> None:
        assert self.outbox is not None
        async with self.store.transaction() as tx:
            await self.outbox.stage(tx, [Outgoing(topic, each) for each in messages], self.clock.now())

    async def until_published(self, count: int) -> list[Message]:
        await until(lambda: len(self.published) >= count)
        return [each.message for each in self.published]


async def until(is_done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_done():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
