"""Whatever the members of a group do, in whatever order: nothing is lost, and nobody works on another's partition."""

import random
from collections import defaultdict
from datetime import timedelta

import pytest

from antiphon.brokers.memory import MemoryBroker, MemoryLogSubscription, MemoryQueueSubscription
from antiphon.brokers.ports import (
    DONE,
    RELEASE,
    Delivery,
    NoticeKind,
    Outcome,
    Partition,
    SeekTo,
    Settlement,
    TopicSpec,
)
from antiphon.events.message import Outgoing
from antiphon.testing.clock import VirtualClock
from antiphon.testing.conformance.suite import a_message, ids, watermarks

STEPS = 300
ROOM = 1 << 20
HOLD = timedelta(seconds=30)
NOW = timedelta()


class LogWalk:
    """Members of one group that do random things, and what they may expect."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.broker = MemoryBroker(clock=self.clock, hold=HOLD)
        self.members: list[MemoryLogSubscription] = []
        self.held: dict[MemoryLogSubscription, list[Delivery]] = {}
        self.owned: defaultdict[Partition, set[MemoryLogSubscription]] = defaultdict(set)
        self.published: list[str] = []
        self.done: set[str] = set()

    async def join(self) -> None:
        subscription = await self.broker.subscribe("group", ["a", "b"])
        assert isinstance(subscription, MemoryLogSubscription)
        self.members.append(subscription)
        self.held[subscription] = []

    async def leave(self) -> None:
        if len(self.members) > 1:
            member = self.pick()
            self.members.remove(member)
            self.forget(member, set(self.owned))
            del self.held[member]
            await member.close()

    async def publish(self) -> None:
        messages = [a_message(f"key-{self.random.randrange(9)}") for _ in range(self.random.randrange(8))]
        await self.broker.publish([Outgoing(self.random.choice("ab"), message) for message in messages])
        self.published += ids(messages)

    async def fetch(self) -> None:
        member = self.pick()
        self.hear(member)
        self.held[member] += await member.fetch(self.random.randrange(1, 9), ROOM, NOW)
        self.hear(member)

    async def commit(self) -> None:
        member = self.pick()
        self.hear(member)
        held = self.held[member]
        finished, self.held[member] = held[: len(held) // 2 + 1], held[len(held) // 2 + 1 :]
        await member.commit(watermarks(finished))
        self.done.update(ids(finished))

    async def stall(self) -> None:
        self.pick().evict()

    async def overdue(self) -> None:
        await self.clock.advance(HOLD)

    async def seek(self) -> None:
        await self.broker.seek("group", self.random.choice("ab"), SeekTo.START)

    def pick(self) -> MemoryLogSubscription:
        return self.random.choice(self.members)

    def hear(self, member: MemoryLogSubscription) -> None:
        for kind, partitions in member.notices():
            if kind is NoticeKind.ASSIGNED:
                for partition in partitions:
                    self.owned[partition].add(member)
            else:
                unfinished = [each for each in self.held[member] if each.partition in partitions]
                assert kind is NoticeKind.LOST or not unfinished, "it was asked to give up what it still works on"
                self.forget(member, set(partitions))

    def forget(self, member: MemoryLogSubscription, partitions: set[Partition]) -> None:
        for partition in partitions:
            self.owned[partition].discard(member)
        self.held[member] = [each for each in self.held[member] if each.partition not in partitions]

    def check(self) -> None:
        for member in self.members:
            self.hear(member)
        assert all(len(owners) <= 1 for owners in self.owned.values()), "a partition has two owners"
        for member, held in self.held.items():
            for delivery in held:
                assert member in self.owned[delivery.partition]
            positions = defaultdict(list)
            for delivery in held:
                positions[delivery.partition].append(int(delivery.position))
            for offsets in positions.values():
                assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), "there is a gap or a repetition"


@pytest.mark.parametrize("seed", range(25))
async def test_a_log_loses_nothing_whatever_its_members_do(seed: int) -> None:
    walk = LogWalk(seed)
    await walk.broker.open()
    for topic in "ab":
        await walk.broker.ensure_topic(TopicSpec(topic, partitions=3))
    await walk.join()
    common = [walk.publish, walk.fetch, walk.fetch, walk.commit, walk.commit]
    rare = [walk.join, walk.leave, walk.stall, walk.overdue, walk.seek]
    for _ in range(STEPS):
        await walk.random.choice(common if walk.random.random() < 0.8 else rare)()
        walk.check()
    for _ in range(10 * len(walk.published)):
        await walk.fetch()
        await walk.commit()
        if set(walk.published) == walk.done and not any(lag.messages for lag in await walk.broker.lag("group")):
            break
        walk.members = walk.members[-1:] + walk.members[:-1]
    assert walk.done == set(walk.published)
    assert sum(lag.messages for lag in await walk.broker.lag("group")) == 0
    await walk.broker.close()
    await walk.broker.database.close()


class QueueWalk:
    """Members of one group that compete at random, and what they may expect."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.broker = MemoryBroker("queue", clock=self.clock, hold=HOLD)
        self.members: list[MemoryQueueSubscription] = []
        self.held: list[tuple[MemoryQueueSubscription, Delivery]] = []
        self.published: list[str] = []
        self.done: set[str] = set()

    async def join(self) -> None:
        subscription = await self.broker.subscribe("group", ["t"])
        assert isinstance(subscription, MemoryQueueSubscription)
        self.members.append(subscription)

    async def leave(self) -> None:
        if len(self.members) > 1:
            member = self.members.pop(self.random.randrange(len(self.members)))
            self.held = [pair for pair in self.held if pair[0] is not member]
            await member.close()

    async def publish(self) -> None:
        messages = [a_message() for _ in range(self.random.randrange(8))]
        await self.broker.publish([Outgoing("t", message) for message in messages])
        self.published += ids(messages)

    async def fetch(self) -> None:
        member = self.random.choice(self.members)
        deliveries = await member.fetch(self.random.randrange(1, 6), ROOM, NOW)
        busy = {delivery.message.id for _, delivery in self.held}
        assert not busy & set(ids(deliveries)), "two members have one message"
        assert not self.done & set(ids(deliveries)), "what was done came again"
        self.held += [(member, delivery) for delivery in deliveries]

    async def settle(self) -> None:
        if self.held:
            member, delivery = self.held.pop(self.random.randrange(len(self.held)))
            outcome = self.random.choice([DONE, DONE, RELEASE, Outcome("again"), Outcome("again", delay=HOLD)])
            await member.settle([Settlement(delivery, outcome)])
            if outcome is DONE:
                self.done.add(delivery.message.id)

    async def expire(self) -> None:
        await self.clock.advance(HOLD)
        self.held.clear()

    async def finish(self) -> None:
        """Settle all that is left, each exactly once."""
        await self.expire()
        left = sum(lag.messages for lag in await self.broker.lag("group"))
        deliveries = await self.members[0].fetch(left + 1, ROOM, NOW)
        assert len(deliveries) == left
        await self.members[0].settle([Settlement(delivery, DONE) for delivery in deliveries])
        self.done.update(ids(deliveries))


@pytest.mark.parametrize("seed", range(25))
async def test_a_queue_gives_each_message_to_one_member_at_a_time_and_loses_none(seed: int) -> None:
    walk = QueueWalk(seed)
    await walk.broker.open()
    await walk.join()
    common = [walk.publish, walk.fetch, walk.fetch, walk.settle, walk.settle, walk.settle]
    rare = [walk.join, walk.leave, walk.expire]
    for _ in range(STEPS):
        await walk.random.choice(common if walk.random.random() < 0.9 else rare)()
    await walk.finish()
    assert walk.done == set(walk.published)
    assert await walk.members[0].fetch(10, ROOM, NOW) == []
    await walk.broker.close()
    await walk.broker.database.close()
