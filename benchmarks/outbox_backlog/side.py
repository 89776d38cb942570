"""The relay drains a sample out of so many events in the outbox, which the server makes itself beforehand."""

from __future__ import annotations

import asyncio
import sys

from antiphon.events.message import Outgoing
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database
from antiphon.storage.envelopes import encode_message
from antiphon.storage.outbox import bucket_of
from antiphon.testing.servers import PostgresServer
from benchmarks.data import KEYS
from benchmarks.filling import messages
from benchmarks.measure import report
from benchmarks.outbox_backlog import SAMPLE
from benchmarks.relaying import relay

WARM_UP = 20_000
MAKE = "create table one_of_each_key (number bigint primary key, bucket bigint, topic text, key text, message text)"
KEEP = "insert into one_of_each_key (number, bucket, topic, key, message) values (?, ?, ?, ?, ?)"
LOAD = """
insert into antiphon_outbox (bucket, topic, key, message, staged_at)
select bucket, topic, key, replace(message, ?, gen_random_uuid()::text), 0
from generate_series(1, cast(? as bigint)) as made(n) join one_of_each_key on number = n % ?
order by n
"""


async def load(store: Database, count: int) -> None:
    """Put `count` events over all keys into the outbox, each with an id of its own."""
    async with store.transaction() as tx:
        await tx.execute(MAKE)
        await tx.execute_many(KEEP, [_of_key(number, each) for number, each in enumerate(messages(KEYS))])
        await tx.execute(LOAD, "THE-ID", count, KEYS)
    await store.fetch("select count(*) from antiphon_outbox")


def _of_key(number: int, outgoing: Outgoing) -> tuple[int, int, str, str | None, str]:
    topic, message = outgoing
    text = encode_message(message).replace(message.id, "THE-ID")
    return number, bucket_of(message), topic, message.key, text


async def main(url: str, count: int) -> None:
    store = connect_store(url)
    await store.open()
    await load(store, count + WARM_UP)
    sample = await relay(store, SAMPLE, WARM_UP)
    await store.close()
    assert sample.held >= WARM_UP + sample.sent
    report(sample.sent, sample.seconds, done=sample.sent, grew_megabytes=sample.grew)


if __name__ == "__main__":
    with PostgresServer(durable=True) as server:
        asyncio.run(main(server.url, int(sys.argv[1])))
