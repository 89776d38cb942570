"""The relay of python-cqrs: its `EventProducer` drains its own table into a broker that keeps what it gets in a list.

The list stands for the log that ours and the twin commit to, so this side has less to do. It runs as fast as it can be
asked to: on asyncpg, with its Pydantic events, which are faster here than its dataclasses, in batches of BATCH instead
of 100, and without the pause that its manual makes after each. There is one producer: two would send every row twice.
"""

import asyncio
import json
import logging
import sys
from time import perf_counter

import cqrs
from cqrs.message_brokers.protocol import Message, MessageBroker
from cqrs.outbox.sqlalchemy import Base, OutboxModel, SqlAlchemyOutboxedEventRepository
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.data import order_json

BATCH = 1_000
"""Ours and the twin read as many at once; more are no faster."""
OrderPlaced = cqrs.PydanticNotificationEvent[dict]


class Kept(MessageBroker):
    """Has every message's bytes as soon as it is sent."""

    def __init__(self) -> None:
        self.messages: list[bytes | None] = []

    async def send_message(self, message: Message) -> None:
        self.messages.append(message.payload_bytes)


async def stage(engine: AsyncEngine, count: int) -> None:
    """Add `count` orders by its own repository; preparation, not measured."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    for first in range(0, count, BATCH):
        async with AsyncSession(engine) as session:
            repository = SqlAlchemyOutboxedEventRepository(session)
            for number in range(first, min(first + BATCH, count)):
                order = json.loads(order_json(number))
                repository.add(OrderPlaced(event_name="OrderPlaced", topic="orders", payload=order))
            await repository.commit()


async def drain(producer: cqrs.EventProducer, kept: Kept, count: int) -> None:
    async for events in producer.event_batch_generator(BATCH):
        for event in events:
            await producer.send_message(event)
        await producer.repository.commit()
        if len(kept.messages) >= count:
            return


async def main(url: str, count: int) -> None:
    logging.disable()
    cqrs.OutboxedEventMap.register("OrderPlaced", OrderPlaced)
    engine, kept = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:")), Kept()
    await stage(engine, count)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        producer = cqrs.EventProducer(kept, SqlAlchemyOutboxedEventRepository(session))
        started = perf_counter()
        await drain(producer, kept, count)
        seconds = perf_counter() - started
        produced = OutboxModel.event_status == cqrs.EventStatus.PRODUCED
        done = (await session.execute(select(func.count()).where(produced))).scalar_one()
    await engine.dispose()
    assert done == len(set(kept.messages)) == len(kept.messages) == count
    print(json.dumps({"value": count / seconds, "seconds": seconds}))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
