"""A process with a relay: `python -m tests.integration.outbox.relay_process STORE LOG [hangs] [LAYOUT]`.

One that hangs says nothing more once the log holds what it published: it can be killed before it forgets. The layout is
that of its outbox, Antiphon's own without one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.observability.hooks import Hooks
from antiphon.observability.metrics import Metrics
from antiphon.outbox.relay import Relay
from antiphon.runtime.layouts import LAYOUTS, outbox_of
from antiphon.runtime.sending import Sending
from antiphon.storage.connect import connect_store


async def main(url: str, log: str, layout: str, *, hangs: bool) -> None:
    broker, store, metrics = EmbeddedBroker(log), connect_store(url), Metrics(service="desk")
    await broker.open()
    await store.open()

    async def publish(outgoing: Sequence[Outgoing]) -> None:
        await broker.publish(outgoing)
        if hangs:
            await asyncio.Event().wait()

    sending = Sending("desk", broker, metrics, Hooks(metrics))
    await Relay(publish, store, SystemClock(), metrics, sending, outbox=outbox_of(layout)).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    found = next((each for each in LAYOUTS if each in sys.argv[3:]), "own")
    asyncio.run(main(sys.argv[1], sys.argv[2], found, hangs="hangs" in sys.argv))
