"""Processes of their own that use the log, and what they tell: one role each, told on the command line.

`python -m tests.integration.postgres_broker.processes ROLE URL`
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from antiphon.brokers.postgres import PostgresBroker
from antiphon.errors import LeaseLostError
from antiphon.events.message import Outgoing
from antiphon.testing.conformance.suite import ROOM, a_message, watermarks

ROOT = Path(__file__).parents[3]
GROUP, TOPIC, ANSWERS = "readers", "orders", "answers"
LEASE = timedelta(seconds=1)
EFFECTS = "create table if not exists effects (id text not null)"


class Child:
    """One process in a role; `told` grows as it tells."""

    def __init__(self, role: str, url: str) -> None:
        command = [sys.executable, "-m", "tests.integration.postgres_broker.processes", role, url]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.told: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last one may be cut short by a kill
                self.told.append(json.loads(line))

    def confirmed(self) -> list[str]:
        return [id for each in self.told for id in each.get("confirmed", ())]

    def kill(self) -> None:
        """Kill it. What it told is complete then. Twice is safe."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def publish(broker: PostgresBroker) -> None:
    """Publish batches for ever; tell of each once it is confirmed."""
    for number in count():
        batch = [Outgoing(TOPIC, a_message(f"key-{each}")) for each in range(1 + number % 50)]
        await broker.publish(batch)
        tell(confirmed=[message.id for _, message in batch])


async def effect(broker: PostgresBroker) -> None:
    """Write a row and an answer for each message in the transaction that moves the watermark, for ever."""
    subscription = await broker.subscribe(GROUP, [TOPIC])
    tell(joined=subscription.id)
    while True:
        deliveries = await subscription.fetch(20, ROOM, timedelta(seconds=1))
        subscription.notices()
        if not deliveries:
            continue
        try:
            async with broker.database.transaction() as tx:
                rows = [(each.message.id,) for each in deliveries]
                await tx.execute_many("insert into effects values (?)", rows)
                await broker.publish_in(tx, [Outgoing(ANSWERS, each.message) for each in deliveries])
                await subscription.commit_in(tx, watermarks(deliveries))
        except LeaseLostError:
            pass


async def main(role: str, url: str) -> None:
    broker = PostgresBroker(url, lease=LEASE)
    await broker.open()
    await {"publish": publish, "effect": effect}[role](broker)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
