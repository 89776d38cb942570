"""A service whose handler writes a row and emits an event, its store a PostgreSQL that waits for the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from antiphon.testing.servers import PostgresServer
from benchmarks.effectively_once_postgres.twin import COUNT
from benchmarks.staging import authorise_all

if __name__ == "__main__":
    with PostgresServer(durable=True) as server:
        asyncio.run(authorise_all(server.url, Path(__file__).parent / "migrations", COUNT))
