"""What asker and responder share in these tests. As a program it answers on a log in a file, slowly if told so.

`python -m tests.integration.asking.pricing PATH fast|hanging`
"""

from __future__ import annotations

import asyncio
import sys

from msgspec import Struct

from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.events.declare import Key, event
from antiphon.runtime.service import Service


@event(topic="questions")
class AskPrice(Struct, frozen=True):
    product: Key[str]
    number: int = 0


@event(topic="quotes")
class Price(Struct, frozen=True):
    product: Key[str]
    pence: int


def pricing(*, hangs: bool = False) -> Service:
    """The price is the number."""
    service = Service("pricing")

    @service.answers(AskPrice)
    async def quote(ask: AskPrice) -> Price:
        if hangs:
            print("asked", flush=True)
            await asyncio.Event().wait()
        return Price(ask.product, ask.number)

    return service


async def main(path: str, how: str) -> None:
    broker = EmbeddedBroker(path)
    await broker.open()
    service = pricing(hangs=how == "hanging")
    await service.start(broker)
    print("ready", flush=True)
    await service.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
