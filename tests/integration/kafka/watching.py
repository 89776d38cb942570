"""A process that goes on moving and measuring groups, while nodes of its cluster are lost: `python -m ... URL`.

The groups `still-N` have no members; `living` has one, by KIP-848 if the URL says so. Whenever each was moved and
measured once more it says so in a line. It ends with its input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from antiphon.brokers import connect
from antiphon.brokers.kafka import KafkaBroker
from antiphon.brokers.ports import SeekTo
from antiphon.errors import AntiphonError
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from tests.integration.kafka.cluster import Member, publish_again
from tests.integration.kafka.noting import Counted

STILL = tuple(f"still-{number}" for number in range(6))
"""Groups enough that each node looks after one."""
LIVING = "living"
TOPIC = "counted"


async def insist(call: Callable[[], Awaitable[object]]) -> None:
    """Call until it works. What cannot be mended by that is raised."""
    while True:
        try:
            await call()
            return
        except AntiphonError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(0.01)


async def watch(broker: KafkaBroker, group: str) -> None:
    if group != LIVING:
        await insist(lambda: broker.seek(group, TOPIC, SeekTo.START))
    await insist(lambda: broker.lag(group))


async def go_on(broker: KafkaBroker) -> None:
    await publish_again(broker, [Composer("watching", SystemClock()).first(Counted("key", 0))])
    member = Member(await broker.subscribe(LIVING, [TOPIC]))
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        await asyncio.gather(*(watch(broker, group) for group in (*STILL, LIVING)))
        print("watched", flush=True)
    await member.stop()


async def main(url: str) -> None:
    broker = connect(url)
    assert isinstance(broker, KafkaBroker)
    await broker.open()
    await go_on(broker)
    await broker.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
