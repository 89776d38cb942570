"""A service whose handler writes a row and emits an event, its store another file than the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.effectively_once_sqlite.twin import COUNT
from benchmarks.staging import authorise_all

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'shop.db'}"
        asyncio.run(authorise_all(url, Path(__file__).parent / "migrations", COUNT))
