"""A broker in memory and relays for it, of whatever outbox a test is about; and what holds for each kind of outbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from antiphon import Key, Service, Struct, Transaction, event
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker
from antiphon.brokers.ports import TopicSpec
from antiphon.errors import PublishError
from antiphon.events.clock import SystemClock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.runtime.layouts import Layout, outbox_of
from antiphon.runtime.sending import Sending
from antiphon.runtime.settings import load_settings
from antiphon.storage.database import Database
from antiphon.storage.outboxes import OutboxTable
from tests.torture.killing import victim


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@event(topic="payments")
class OrderPaid(Struct, frozen=True):
    order_id: Key[str]


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


async def until(is_done: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not (done if isinstance(done := is_done(), bool) else await done):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def require_a_service_emits_through(store: Database, layout: Layout, folder: Path) -> None:
    """What a handler emits comes back to its own service, and nothing stays."""
    shop = Service("shop", broker="memory://", store=store, outbox=layout)
    paid: list[str] = []

    @shop.on(OrderPlaced)
    async def pay(order: OrderPlaced, tx: Transaction) -> OrderPaid:
        return OrderPaid(order.order_id)

    @shop.on(OrderPaid)
    async def note(order: OrderPaid) -> None:
        paid.append(order.order_id)

    await shop.start(settings=load_settings({}, {}, folder))
    await shop.publish(OrderPlaced("o-1"))
    await until(lambda: paid == ["o-1"])
    await shop.stop()
    assert await store.fetch("select count(*) from antiphon_outbox") == [(0,)]


async def require_another_takes_over(store: Database, url: str, layout: Layout, folder: Path) -> None:
    """Of a relay that is killed between publishing and forgetting nothing is lost, and the next one keeps the ids."""
    desk, log = Desk(store, outbox_of(layout)), EmbeddedBroker(folder / "log.db")
    assert desk.outbox is not None
    await desk.outbox.make(store)
    await desk.broker.open()
    await log.open()
    await log.ensure_topic(TopicSpec("orders"))
    before, after = _messages(100), _messages(100)
    await desk.stage(*before)
    with victim(url, str(folder / "log.db"), "hangs", layout, module="tests.integration.outbox.relay_process"):
        await until(lambda: _holds(log, before))
    await desk.stage(*after)
    async with desk.relaying() as relay:
        await desk.until_published(200)
        await until(relay.is_at_rest)
    assert _texts([each.message for each in desk.published]) == _texts([*before, *after])
    await log.close()


def _messages(count: int) -> list[Message]:
    now = SystemClock().now()
    return [Message(new_id(), "Said", now, b'{"number":%d}' % n, f"key-{n % 10}", "desk") for n in range(count)]


def _texts(messages: Sequence[Message]) -> list[tuple[str, object]]:
    """What each says, under which id."""
    return [(each.id, json.loads(each.data or b"null")) for each in messages]


async def _holds(log: EmbeddedBroker, messages: Sequence[Message]) -> bool:
    """Whether it holds these, each once, and nothing else."""
    found = await log.browse("orders", {}, 1000)
    return sorted(each.message.id for each in found) == sorted(each.id for each in messages)
