"""`python -m antiphon.testing.servers.services [NAME ...]`: start these servers, or all that can be, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TextIO

from antiphon.testing.servers.process import ServerMissingError
from antiphon.testing.servers.shared import SERVERS


def say(text: str, where: TextIO = sys.stdout) -> None:
    """One line, at once."""
    where.write(f"{text}\n")
    where.flush()


def main(names: Sequence[str]) -> int:
    """Print the address of each, or what is missing; returns once interrupted."""
    unknown = sorted(set(names) - SERVERS.keys())
    if unknown:
        say(f"there is no server called {', '.join(unknown)}; there are {', '.join(SERVERS)}", sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with ExitStack() as running:
        for name in names or SERVERS:
            try:
                say(f"{name:<10}{running.enter_context(SERVERS[name]()).url}")
            except ServerMissingError as error:
                say(f"{name:<10}not started: {error}", sys.stderr)
        say("Ctrl-C ends them, and removes their data.")
        with suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
