"""Whatever happens to an asker's connection: what is asked afterwards is answered, at the same address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker
from antiphon.errors import AntiphonError
from antiphon.events.ids import new_id
from antiphon.runtime.asking import Asker
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.sqlite import SqliteDatabase
from tests.conftest import Server
from tests.integration.asking.pricing import AskPrice, Price, pricing
from tests.integration.postgres.cutting import Road, road_to

SOON, LONG = timedelta(seconds=2), timedelta(seconds=20)
KINDS = ("nats", "valkey", "rabbitmq", "rabbitmq-streams", "postgres")
pytestmark = pytest.mark.timeout(120)


def own_place(kind: str, url: str) -> str:
    """A place on the server where nobody else is."""
    token = new_id()[-12:]
    if kind == "nats":
        return f"{url}/test-{token}?timeout=2s"
    if kind == "postgres":
        return f"{url}?schema=test_{token}"
    return f"{url}?prefix=test{token}"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Broker]:
    broker = connect(url)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def cuttable(server_url: Server, kind: str, tmp_path: Path) -> AsyncIterator[tuple[Road, Asker]]:
    """An asker behind a road, and a responder that reaches the server directly."""
    url = server_url(kind)
    place, port = own_place(kind, url), urlsplit(url).port or 0
    store = SqliteDatabase(tmp_path / "own.db")
    await store.open()
    async with opened(place) as direct, road_to(port) as (road, other):
        service = pricing()
        await service.start(direct, Settings(common=ServiceSettings(broker=direct.url)), store=store)
        async with opened(place.replace(f":{port}", f":{other}", 1)) as behind, Asker(behind, name="shop") as asker:
            yield road, asker
        await service.stop()
    await store.close()


async def surely(asker: Asker, number: int) -> Price:
    """Asked again, as a caller does, where the connection was not back yet."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asker.ask(AskPrice("tea", number), Price, within=SOON)
            except AntiphonError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_asker_whose_connection_was_cut_goes_on_by_itself(
    server_url: Server, kind: str, tmp_path: Path
) -> None:
    async with cuttable(server_url, kind, tmp_path) as (road, asker):
        assert await asker.ask(AskPrice("tea", 1), Price, within=LONG) == Price("tea", 1)
        for number in range(2, 5):
            road.cut()
            assert await surely(asker, number) == Price("tea", number)


@pytest.mark.parametrize("kind", KINDS)
async def test_requests_on_their_way_when_it_is_cut_end_with_a_reply_or_an_error_that_may_pass(
    server_url: Server, kind: str, tmp_path: Path
) -> None:
    async with cuttable(server_url, kind, tmp_path) as (road, asker):
        await surely(asker, 0)
        asking = [asyncio.create_task(asker.ask(AskPrice("tea", n), Price, within=SOON)) for n in range(50)]
        await asyncio.sleep(0.01)
        road.cut()
        for number, found in enumerate(await asyncio.gather(*asking, return_exceptions=True)):
            assert found == Price("tea", number) or (isinstance(found, AntiphonError) and found.retryable), found
        assert await surely(asker, 99) == Price("tea", 99)
