"""A peer's side: a PostgreSQL as ours and the twin have it, and on it the peer's program in the peer's environment."""

from __future__ import annotations

import subprocess
import sys

from antiphon.testing.servers import PostgresServer
from benchmarks.outbox_relay.twin import COUNT


def main(interpreter: str, program: str) -> None:
    with PostgresServer(durable=True) as server:
        subprocess.run([interpreter, program, server.url, str(COUNT)], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
