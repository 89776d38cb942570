"""A user with the rights of the page on Redis asks and answers; one without those to channels is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from antiphon.brokers.connect import connect
from antiphon.errors import AccessDeniedError
from antiphon.runtime.asking import Asker
from antiphon.runtime.settings import ServiceSettings, Settings
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.servers import ValkeyServer
from tests.integration.asking.pricing import AskPrice, Price, pricing

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "brokers" / "redis.md"


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


async def _allow(url: str, *rights: str) -> None:
    admin = connect(url)
    await admin.open()
    await admin.native.execute_command("ACL", "SETUSER", "antiphon", "reset", *rights)  # type: ignore[attr-defined] # pyright: ignore - the driver's
    await admin.close()


def _rights() -> list[str]:
    found = re.search(r"ACL SETUSER antiphon (.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1].split()


async def test_the_rights_of_the_page_are_enough_to_ask_and_to_answer(server: ValkeyServer) -> None:
    await _allow(server.url, *_rights())
    parts = urlsplit(server.url)
    store = SqliteDatabase(":memory:")
    broker = connect(f"redis://antiphon:secret@{parts.hostname}:{parts.port}")
    await broker.open()
    await store.open()
    service = pricing()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)), store=store)
    async with Asker(broker, name="shop") as asker:
        assert await asker.ask(AskPrice("tea", 3), Price, within=timedelta(seconds=10)) == Price("tea", 3)
    await service.stop()
    await broker.close()
    await store.close()


async def test_who_may_use_no_channels_is_told_when_the_asker_is_opened(server: ValkeyServer) -> None:
    await _allow(server.url, *(right for right in _rights() if not right.startswith("&")))
    parts = urlsplit(server.url)
    broker = connect(f"redis://antiphon:secret@{parts.hostname}:{parts.port}")
    await broker.open()
    with pytest.raises(AccessDeniedError):
        async with Asker(broker, name="shop"):
            pass
    await broker.close()
