"""By hand on psycopg: read a thousand, append them to the log in one commit, delete them in one statement."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time_ns

from psycopg import AsyncConnection

from antiphon.events.ids import new_id
from antiphon.testing.servers import PostgresServer
from benchmarks.data import key_of, order_json
from benchmarks.hand_log import open_log
from benchmarks.hand_outbox import SCHEMA, STAGE, envelope_text, relay
from benchmarks.measure import report

COUNT = 20_000


async def move(url: str, log: sqlite3.Connection) -> float:
    async with await AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute(SCHEMA)
        at = time_ns() // 1000
        keys = [key_of(number) for number in range(COUNT)]
        texts = [
            envelope_text(new_id(), "OrderPlaced", key, order_json(number), at, None) for number, key in enumerate(keys)
        ]
        await db.execute(STAGE, (at, keys, texts))
        started = perf_counter()
        await relay(db, log, COUNT)
        return perf_counter() - started


def main() -> None:
    with TemporaryDirectory() as folder, PostgresServer(durable=True) as server:
        log = open_log(Path(folder) / "log.db")
        seconds = asyncio.run(move(server.url, log))
        (sent,) = log.execute("select count(*) from messages").fetchone()
    report(COUNT, seconds, done=sent)


if __name__ == "__main__":
    main()
