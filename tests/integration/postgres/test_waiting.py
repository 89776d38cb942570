"""A task is woken for an answer once, however many pieces it comes in, and others have their turn meanwhile."""

from __future__ import annotations

import asyncio

from antiphon.storage.postgres import PostgresDatabase, driver

LARGE = "select repeat(md5(n::text), 32) from generate_series(1, 4000) as n"
PIECES = 20
"""At least so many of the socket's make up an answer of 4 MB."""


class Counting(driver.Waiting):
    """Notes how many waits there are, and how often the socket had something to read."""

    waits = reads = 0

    def __init__(self, *args) -> None:
        Counting.waits += 1
        super().__init__(*args)

    def _wake(self) -> None:
        Counting.reads += 1
        super()._wake()


async def test_a_large_answer_wakes_its_task_once_and_lets_others_run(database: PostgresDatabase, monkeypatch) -> None:
    await database.fetch("select 1")  # connected, and prepared for
    monkeypatch.setattr(driver, "Waiting", Counting)
    turns, is_over = 0, False

    async def others() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    rows = await database.fetch(LARGE, row=str)
    is_over = True
    await other
    assert len(rows) == 4000
    assert all(len(row) == 1024 for row in rows)
    assert Counting.reads > PIECES, "it came in one piece"
    assert Counting.waits < PIECES / 4
    assert turns > Counting.reads
