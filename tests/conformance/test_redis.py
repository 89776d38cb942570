"""The broker on Redis Streams keeps every promise of a log, on Redis and on Valkey."""

from collections.abc import AsyncIterator

import pytest

from antiphon.brokers import connect
from antiphon.brokers.ports import Broker
from antiphon.brokers.redis import RedisBroker
from antiphon.events.ids import new_id
from antiphon.testing.conformance import LogConformance
from tests.integration.redis.silence import silence


class TestRedis(LogConformance):
    evict = staticmethod(silence)

    @pytest.fixture(params=["valkey", "redis"])
    async def broker(self, request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
        url = request.getfixturevalue(f"{request.param}_server")
        current = connect(f"{url}?prefix={new_id()[-12:]}&max_message_bytes=2097152")
        assert isinstance(current, RedisBroker)
        self.current = current
        await current.open()
        yield current
        await current.close()

    async def reopen(self, broker: Broker) -> Broker:
        await self.current.close()
        await self.current.open()
        return self.current

    async def retain(self, broker: Broker) -> None:
        await self.current.clean()
