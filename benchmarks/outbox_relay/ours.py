"""One relay, as services carry it, with nothing beside it."""

from __future__ import annotations

import asyncio

from antiphon.storage.connect import connect_store
from antiphon.storage.outbox import is_outbox_empty
from antiphon.testing.servers import PostgresServer
from benchmarks.measure import report
from benchmarks.outbox_relay.twin import COUNT
from benchmarks.relaying import relay, stage_orders


async def main(url: str) -> None:
    store = connect_store(url)
    await store.open()
    await stage_orders(store, COUNT)
    before = store.counters.round_trips
    sample = await relay(store, COUNT)
    trips = store.counters.round_trips - before
    assert await is_outbox_empty(store)
    await store.close()
    report(COUNT, sample.seconds, done=sample.held, round_trips_per_message=trips / COUNT)


if __name__ == "__main__":
    with PostgresServer(durable=True) as server:
        asyncio.run(main(server.url))
