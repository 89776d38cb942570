"""Whoever waits for a reply when its broker is closed is told so at once, on every broker."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from antiphon.brokers.connect import connect
from antiphon.errors import ClosedError
from antiphon.runtime.asking import Asker
from tests.conftest import Server
from tests.integration.asking.pricing import AskPrice, Price
from tests.integration.asking.test_cut import own_place

LONG = timedelta(seconds=60)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["embedded", "memory", "kafka", "nats", "postgres", "rabbitmq", "rabbitmq-streams", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path, server_url: Server) -> str:
    kind: str = request.param
    if kind in ("embedded", "memory"):
        return f"embedded:///{tmp_path}/log.db" if kind == "embedded" else "memory:///"
    url = server_url(kind.removesuffix("-streams"))
    if kind == "kafka":
        return url
    return own_place(kind, url.replace("rabbitmq:", f"{kind}:", 1))


async def test_who_waits_when_the_broker_is_closed_is_told_at_once(url: str) -> None:
    broker = connect(url)
    await broker.open()
    async with Asker(broker, name="shop") as asker:
        waiting = asyncio.create_task(asker.ask(AskPrice("tea"), Price, within=LONG))
        await asyncio.wait({waiting}, timeout=1.5)
        assert not waiting.done()
        await broker.close()
        async with asyncio.timeout(5):
            with pytest.raises(ClosedError, match=r"cannot wait for a reply: broker .* is not open"):
                await waiting
        with pytest.raises(ClosedError):
            await asker.ask(AskPrice("tea"), Price, within=LONG)
