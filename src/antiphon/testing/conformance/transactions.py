"""Promises about the caller's transaction: messages, settlements and rows commit together or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from antiphon.brokers.ports import (
    DONE,
    Broker,
    Delivery,
    SeekTo,
    Settlement,
    StoreBroker,
    StoreLogSubscription,
    StoreQueueSubscription,
    Subscription,
)
from antiphon.errors import LeaseLostError, PublishError, UnsupportedCapabilityError
from antiphon.events.message import Outgoing
from antiphon.storage.database import OpenTransaction, Transaction
from antiphon.testing.conformance.suite import BrokerSuite, a_message, ids, requires, watermarks


class TransactionConformance(BrokerSuite):
    """In a broker's own database nothing is published or settled before the transaction is, and never twice."""

    async def publish_in_a_transaction(self, broker: Broker) -> None:
        if not isinstance(broker, StoreBroker):
            raise UnsupportedCapabilityError(broker.url, "store_transactions", "it is in no database")
        async with broker.database.transaction() as tx:
            await broker.publish_in(tx, [Outgoing(self.fresh("topic"), a_message())])

    @asynccontextmanager
    async def begun(self, broker: Broker) -> AsyncGenerator[tuple[StoreBroker, OpenTransaction], None]:
        """A transaction, rolled back at the end if nothing else became of it."""
        assert isinstance(broker, StoreBroker), "it claims store_transactions but is no StoreBroker"
        tx = await broker.database.begin()
        try:
            yield broker, tx
        finally:
            await tx.rollback()

    async def finish_in(self, tx: Transaction, subscription: Subscription, deliveries: list[Delivery]) -> None:
        if hasattr(subscription, "settle_in"):
            settlements = [Settlement(delivery, DONE) for delivery in deliveries]
            await cast(StoreQueueSubscription, subscription).settle_in(tx, settlements)
        else:
            await cast(StoreLogSubscription, subscription).commit_in(tx, watermarks(deliveries))

    async def carry_in(self, tx: Transaction, subscription: Subscription, deliveries: list[Delivery]) -> None:
        """Let `tx` carry their work where what came before them is unfinished: on a log, no watermark moves."""
        if hasattr(subscription, "settle_in"):
            await self.finish_in(tx, subscription, deliveries)
        else:
            held = {delivery.partition for delivery in deliveries}
            await cast(StoreLogSubscription, subscription).commit_in(tx, {}, held)

    @requires("store_transactions", publish_in_a_transaction)
    async def test_what_is_published_in_a_transaction_comes_with_its_commit(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        async with self.begun(broker) as (store, tx):
            sent = [a_message("a"), a_message("b"), a_message("a")]
            await store.publish_in(tx, [Outgoing(topic, message) for message in sent])
            await self.assert_silent(subscription)
            await tx.commit()
        assert sorted(ids(await self.receive(subscription, 3))) == sorted(ids(sent))
        await self.assert_silent(subscription)

    @requires("store_transactions", publish_in_a_transaction)
    async def test_what_is_published_in_a_transaction_goes_with_its_rollback(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        async with self.begun(broker) as (store, tx):
            await store.publish_in(tx, [Outgoing(topic, a_message("a"))])
            await tx.rollback()
        await self.assert_silent(subscription)

    @requires("store_transactions", publish_in_a_transaction)
    async def test_an_undone_part_takes_its_messages_with_it(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        async with self.begun(broker) as (store, tx):
            kept, undone = a_message("a"), a_message("a")
            await tx.savepoint()
            await store.publish_in(tx, [Outgoing(topic, kept)])
            await tx.release()
            await tx.savepoint()
            await store.publish_in(tx, [Outgoing(topic, undone)])
            await tx.undo()
            await tx.commit()
        assert ids(await self.receive(subscription, 1)) == [kept.id]
        await self.assert_silent(subscription)

    @requires("store_transactions", publish_in_a_transaction)
    async def test_a_refusal_in_a_transaction_publishes_nothing(self, broker: Broker) -> None:
        limit = broker.capabilities.max_message_bytes
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        async with self.begun(broker) as (store, tx):
            outgoing = [
                Outgoing(topic, a_message("a")),
                Outgoing(topic, a_message("b", b"x" * ((limit or 1 << 20) + 1))),
            ]
            if limit is None:
                await store.publish_in(tx, outgoing)
            else:
                with pytest.raises(PublishError):
                    await store.publish_in(tx, outgoing)
            await tx.commit()
        arrived = 2 if limit is None else 0
        assert sum(state.messages for state in await broker.topics() if state.name == topic) == arrived
        await subscription.close()

    @requires("store_transactions", publish_in_a_transaction)
    async def test_settling_and_rows_commit_together(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join(broker, group, topic)
        await self.publish(broker, topic, 10)
        deliveries = await self.receive(subscription, 10)
        async with self.begun(broker) as (store, tx):
            await tx.execute("create table effects (id text)")
            await tx.execute_many("insert into effects values (?)", [(each,) for each in ids(deliveries)])
            await self.finish_in(tx, subscription, deliveries)
            assert sum(lag.messages for lag in await broker.lag(group)) == 10
            await tx.commit()
        assert sum(lag.messages for lag in await broker.lag(group)) == 0
        assert sorted(await store.database.fetch("select id from effects", row=str)) == sorted(ids(deliveries))

    @requires("store_transactions", publish_in_a_transaction)
    async def test_a_rollback_settles_nothing(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join(broker, group, topic)
        sent = await self.publish(broker, topic, 10)
        deliveries = await self.receive(subscription, 10)
        async with self.begun(broker) as (_, tx):
            await self.finish_in(tx, subscription, deliveries)
            await tx.rollback()
        await subscription.close()
        again = await self.join(broker, group, topic)
        assert sorted(ids(await self.receive(again, 10))) == sorted(ids(sent))

    @requires("store_transactions", publish_in_a_transaction)
    async def test_who_lost_its_hold_cannot_settle_in_a_transaction(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        stalled = await self.join(broker, group, topic)
        sent = await self.publish(broker, topic, 10)
        held = await self.receive(stalled, 10)
        other = await self.join(broker, group, topic)
        await self.evict(broker, stalled)
        async with self.begun(broker) as (_, tx):
            with pytest.raises(LeaseLostError):
                await self.finish_in(tx, stalled, held)
            await tx.rollback()
        repeated = await self.receive(other, 10)
        assert sorted(ids(repeated)) == sorted(ids(sent))
        async with self.begun(broker) as (_, tx):
            await self.finish_in(tx, other, repeated)
            await tx.commit()
        assert sum(lag.messages for lag in await broker.lag(group)) == 0

    @requires("store_transactions", publish_in_a_transaction)
    async def test_who_lost_its_hold_cannot_settle_a_part_in_a_transaction(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        stalled = await self.join(broker, group, topic)
        await self.publish(broker, topic, 10)
        held = await self.receive(stalled, 10)
        async with self.begun(broker) as (_, tx):
            await self.carry_in(tx, stalled, held[1:])
        await self.join(broker, group, topic)
        await self.evict(broker, stalled)
        async with self.begun(broker) as (_, tx):
            with pytest.raises(LeaseLostError):
                await self.carry_in(tx, stalled, held[1:])

    @requires("store_transactions", publish_in_a_transaction)
    async def test_a_seek_voids_what_a_transaction_settles_of_before(self, broker: Broker) -> None:
        if not broker.capabilities.replay:
            return await self.refuse_to_seek(broker)
        topic, group = self.fresh("topic"), self.fresh("group")
        subscription = await self.join(broker, group, topic)
        await self.publish(broker, topic, 10)
        held = await self.receive(subscription, 10)
        await broker.seek(group, topic, SeekTo.START)
        async with self.begun(broker) as (_, tx):
            with pytest.raises(LeaseLostError):
                await self.finish_in(tx, subscription, held)
        assert sum(lag.messages for lag in await broker.lag(group)) == 10
        return None

    async def refuse_to_seek(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        await self.join(broker, group, topic)
        with pytest.raises(UnsupportedCapabilityError):
            await broker.seek(group, topic, SeekTo.START)
