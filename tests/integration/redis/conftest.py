"""A server of one's own, of each kind, and a broker on it whose members are given up soon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from antiphon.brokers import connect
from antiphon.brokers.redis import RedisBroker
from antiphon.testing.servers import RedisServer, ValkeyServer


@pytest.fixture(params=[ValkeyServer, RedisServer], ids=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[ValkeyServer]:
    with request.param() as running:
        yield running


@pytest.fixture
async def broker(server: ValkeyServer) -> AsyncIterator[RedisBroker]:
    opened = connect(f"{server.url}?lease=2s&timeout=1s")
    assert isinstance(opened, RedisBroker)
    await opened.open()
    yield opened
    await opened.close()
