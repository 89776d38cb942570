"""A responder that is killed while it answers, and what is left of askers in the file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.observability import names
from antiphon.observability.metrics import Metrics
from antiphon.runtime.asking import Asker
from tests.integration.asking.pricing import AskPrice, Price

ROOT = Path(__file__).parents[3]
LONG = timedelta(seconds=30)


@asynccontextmanager
async def responder(path: Path, how: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of its own that answers, once it does."""
    command = ("-m", "tests.integration.asking.pricing", str(path), how)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert await said_by(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said_by(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


async def test_another_process_takes_over_from_one_that_is_killed_while_it_answers(tmp_path: Path) -> None:
    path, metrics = tmp_path / "log.db", Metrics(service="shop")
    broker = EmbeddedBroker(path)
    await broker.open()
    async with Asker(broker, name="shop", metrics=metrics) as asker, responder(path, "hanging") as first:
        asking = asyncio.create_task(asker.ask(AskPrice("tea", 7), Price, within=LONG))
        assert await said_by(first) == "asked"
        async with responder(path, "fast"):
            first.kill()
            assert await asking == Price("tea", 7)
    assert metrics.counter(names.REPLIES_LATE).value == 0
    await broker.close()


async def test_asking_leaves_nothing_in_the_file_but_replies_for_minutes(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    broker = EmbeddedBroker(path)
    await broker.open()
    async with responder(path, "fast"):
        for _ in range(3):
            async with Asker(broker, name="shop") as asker:
                await asyncio.gather(*(asker.ask(AskPrice("tea", n), Price, within=LONG) for n in range(50)))
        assert await broker.groups() == ["pricing"]
    kept = {topic.name: topic for topic in await broker.topics()}
    assert kept["antiphon.replies.shop"].keep_for == timedelta(minutes=5)
    assert kept.keys() == {"questions", "antiphon.replies.shop"}
    await broker.close()
