"""What a broker refuses for good, of a reply or of what is published with it, is told to whoever asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from msgspec import Struct

from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import RequestFailedError
from antiphon.events.declare import Key, event
from antiphon.resilience import Retry
from antiphon.runtime.asking import Asker
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.service import Service
from antiphon.storage.database import Transaction
from antiphon.storage.dead_letters import list_parked
from tests.integration.asking.pricing import AskPrice, Price

LONG = timedelta(seconds=20)


@event(topic="audits")
class Asked(Struct, frozen=True):
    product: Key[str]


@asynccontextmanager
async def running(broker: MemoryBroker, service: Service) -> AsyncIterator[Asker]:
    await broker.open()
    await service.start(broker)
    async with Asker(broker, name="shop") as asker:
        yield asker
    await service.stop()
    assert await list_parked(broker.database) == []
    await broker.close()
    await broker.database.close()


@pytest.mark.parametrize("transaction", ["shared", "own"])
async def test_what_is_published_with_a_reply_and_refused_fails_the_request(transaction: str) -> None:
    broker = MemoryBroker(refuse=lambda each: "nothing goes there" if each.topic == "audits" else None)
    service = Service("pricing", policy=Retry(immediate=0, delayed=0))

    @service.answers(AskPrice, publishes=(Asked,), transaction="own" if transaction == "own" else "shared")
    async def quote(ask: AskPrice, tx: Transaction, publisher: Publisher) -> Price:
        if ask.number:
            await publisher.publish(Asked(ask.product))
        return Price(ask.product, ask.number)

    async with running(broker, service) as asker:
        with pytest.raises(RequestFailedError, match="nothing goes there") as caught:
            await asker.ask(AskPrice("tea", 1), Price, within=LONG)
        assert caught.value.error == "PublishError"
        assert await asker.ask(AskPrice("tea", 0), Price, within=LONG) == Price("tea", 0)


async def test_a_reply_that_is_too_large_is_told_as_a_failure() -> None:
    service = Service("pricing")

    @service.answers(AskPrice)
    async def quote(ask: AskPrice) -> Price:
        return Price("x" * 10_000, ask.number)

    async with running(MemoryBroker(max_message_bytes=1_000), service) as asker:
        with pytest.raises(RequestFailedError, match="did not take the reply: its data has"):
            await asker.ask(AskPrice("tea"), Price, within=LONG)
