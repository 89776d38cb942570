"""Promises about what arrives: exactly what was published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from antiphon.brokers.ports import Broker
from antiphon.errors import PublishError
from antiphon.events.message import Message, Outgoing
from antiphon.testing.conformance.suite import BrokerSuite, a_message

_MEGABYTE = 1 << 20


class MessageConformance(BrokerSuite):
    """Nothing of a message is lost, added or changed on its way."""

    async def carry(self, broker: Broker, *messages: Message) -> list[Message]:
        """What arrives of these, in order of their ids."""
        topic = self.fresh("topic")
        subscription = await self.join(broker, self.fresh("group"), topic)
        await broker.publish([Outgoing(topic, message) for message in messages])
        deliveries = await self.receive(subscription, len(messages))
        assert all(delivery.problem is None for delivery in deliveries)
        return sorted((delivery.message for delivery in deliveries), key=lambda message: message.id)

    async def test_every_field_arrives_unchanged(self, broker: Broker) -> None:
        sent = structs.replace(
            a_message("key-ä-鍵", b'{"total": 12.5}'),
            time=datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC),
            schema_version=7,
            correlation_id="story-1",
            causation_id="cause-1",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            tracestate="vendor=value,other=1",
            deadline=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(microseconds=1),
            tenant="tenant-ö",
        )
        assert await self.carry(broker, sent) == [sent]

    async def test_absent_fields_stay_absent(self, broker: Broker) -> None:
        sent = structs.replace(a_message(), source="", content_type=None)
        (arrived,) = await self.carry(broker, sent)
        assert arrived == sent
        assert arrived.key is None

    async def test_extensions_that_nobody_knows_survive(self, broker: Broker) -> None:
        extensions = {"region": "eu-1", "retries": -3, "sampled": True, "vendored": "", "note": "ä\n鍵"}
        (arrived,) = await self.carry(broker, structs.replace(a_message(), extensions=extensions))
        assert dict(arrived.extensions) == extensions
        assert {name: type(value) for name, value in arrived.extensions.items()} == {
            name: type(value) for name, value in extensions.items()
        }

    async def test_a_tombstone_stays_one(self, broker: Broker) -> None:
        (arrived,) = await self.carry(broker, a_message("gone", None))
        assert arrived.data is None

    async def test_empty_data_is_no_tombstone(self, broker: Broker) -> None:
        (arrived,) = await self.carry(broker, a_message("empty", b""))
        assert arrived.data == b""

    async def test_a_megabyte_arrives_or_is_refused_by_the_declared_limit(self, broker: Broker) -> None:
        sent = a_message("large", bytes(range(256)) * (_MEGABYTE // 256))
        limit = broker.capabilities.max_message_bytes
        if limit is None or limit >= _MEGABYTE:
            assert await self.carry(broker, sent) == [sent]
        else:
            with pytest.raises(PublishError):
                await self.carry(broker, sent)

    async def test_content_of_an_unknown_type_arrives_as_it_is(self, broker: Broker) -> None:
        every_byte = bytes(range(256))
        sent = [
            structs.replace(a_message("a", every_byte), content_type="application/x-nobody-knows; v=1"),
            structs.replace(a_message("b", b"no json"), content_type="application/json"),
            structs.replace(a_message("c", every_byte), content_type=None),
        ]
        assert await self.carry(broker, *sent) == sent
