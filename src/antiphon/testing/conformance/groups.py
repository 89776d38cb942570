"""Promises about groups: each has everything, and its members share the work."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.brokers.ports import Broker, Delivery, Subscription
from antiphon.testing.conformance.suite import BrokerSuite, ids, requires


class GroupConformance(BrokerSuite):
    """Groups do not disturb each other; members of one neither lose a message nor read one twice."""

    async def join_twice(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        await self.join(broker, self.fresh("group"), topic)
        await self.join(broker, self.fresh("group"), topic)

    @requires("groups", join_twice)
    async def test_each_group_gets_everything(self, broker: Broker) -> None:
        topic = self.fresh("topic")
        first = await self.join(broker, self.fresh("group"), topic)
        second = await self.join(broker, self.fresh("group"), topic)
        sent = sorted(ids(await self.publish(broker, topic, 60)))
        deliveries = await self.receive(first, 60)
        assert sorted(ids(deliveries)) == sent
        await self.finish(first, deliveries)
        assert sorted(ids(await self.receive(second, 60))) == sent

    async def test_members_of_a_group_share_its_messages(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        members = [await self.join(broker, group, topic) for _ in range(3)]
        if broker.capabilities.model == "log":
            await self.until_shared(members, partitions=8)
        sent = await self.publish(broker, topic, 240, keys=97)
        read = await self.read_together(members, len(sent))
        assert sorted(ids([delivery for part in read for delivery in part])) == sorted(ids(sent))
        assert all(read), "a member had no part in the work"
        for member in members:
            await self.assert_silent(member)

    async def test_what_a_member_did_not_settle_goes_to_another(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        leaving = await self.join(broker, group, topic)
        sent = await self.publish(broker, topic, 40)
        assert len(await self.receive(leaving, 40)) == 40
        staying = await self.join(broker, group, topic)
        await leaving.close()
        assert sorted(ids(await self.receive(staying, 40))) == sorted(ids(sent))

    async def test_what_was_settled_never_comes_again(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        first = await self.join(broker, group, topic)
        await self.publish(broker, topic, 40)
        await self.finish(first, await self.receive(first, 40))
        await first.close()
        second = await self.join(broker, group, topic)
        await self.assert_silent(second)
        sent = await self.publish(broker, topic, 5)
        assert sorted(ids(await self.receive(second, 5))) == sorted(ids(sent))

    async def test_members_come_and_go_without_loss_or_repetition(self, broker: Broker) -> None:
        topic, group = self.fresh("topic"), self.fresh("group")
        first = await self.join(broker, group, topic)
        sent = ids(await self.publish(broker, topic, 50, keys=23))
        read = await self.read_together([first], 50)
        second = await self.join(broker, group, topic)
        sent += ids(await self.publish(broker, topic, 50, keys=23))
        read += await self.read_together([first, second], 50)
        await first.close()
        sent += ids(await self.publish(broker, topic, 50, keys=23))
        read += await self.read_together([second], 50)
        assert sorted(ids([delivery for part in read for delivery in part])) == sorted(sent)

    async def test_groups_are_listed(self, broker: Broker) -> None:
        group = self.fresh("group")
        await self.join(broker, group, self.fresh("topic"))
        assert group in await broker.groups()

    async def read_together(self, members: Sequence[Subscription], count: int) -> list[list[Delivery]]:
        """Let the members take turns, settling what they get, until they have `count` deliveries together."""
        read: list[list[Delivery]] = [[] for _ in members]
        for _ in range(200):
            for part, member in zip(read, members, strict=True):
                deliveries = await self.glance(member, limit=20)
                await self.finish(member, deliveries)
                part.extend(deliveries)
            if sum(map(len, read)) >= count:
                return read
        raise AssertionError(f"only {sum(map(len, read))} of {count} messages came")
