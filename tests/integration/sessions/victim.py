"""The process that is killed: a service over one kind of session, which dies at its third commit, before or after it.

python -m tests.integration.sessions.victim KIND STORE BROKER before|after|never
"""

from __future__ import annotations

import os
import signal
import sys

from antiphon import Service, run
from antiphon.storage.sessions import OwnedTransaction
from antiphon.storage.sqlite.lending import LentTransaction
from tests.integration.sessions.kinds import ON_POSTGRES, ON_SQLITE, Fault, OrderPlaced

FATAL = 3


def die_at_commit(when: str) -> None:
    """From now on the process is killed around the commit of so many sessions."""
    count = 0
    for kind in (OwnedTransaction, LentTransaction):
        commit = kind.commit

        async def fatal(tx, commit=commit):
            nonlocal count
            count += 1
            if count == FATAL and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            await commit(tx)
            if count == FATAL:
                os.kill(os.getpid(), signal.SIGKILL)

        kind.commit = fatal


def main(kind: str, store: str, broker: str, when: str) -> None:
    setup = {**ON_SQLITE, **ON_POSTGRES}[kind](store, Fault())
    payments = Service("payments", store=store, sessions=setup.sessions, concurrency=1)
    payments.on(OrderPlaced, guarantee="effectively_once")(setup.handler)
    if when != "never":
        die_at_commit(when)
    run(payments, broker=broker)


if __name__ == "__main__":
    main(*sys.argv[1:])
