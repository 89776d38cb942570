"""How an application's own writes and the events they mean commit together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.errors import UnsupportedCapabilityError
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.publisher import Publisher, ServicePublisher
from antiphon.runtime.scheduling import Scheduling
from antiphon.storage.database import Transaction


@asynccontextmanager
async def transact(
    broker: Broker, composer: Composer, scheduling: Scheduling
) -> AsyncGenerator[tuple[Transaction, Publisher]]:
    """A transaction on the broker's database, and a publisher whose events are held, or scheduled, when it commits."""
    if not isinstance(broker, StoreBroker):
        raise UnsupportedCapabilityError(
            f"the broker {broker.url}", "database of its own", "writes and events cannot commit together there"
        )
    made: list[Outgoing] = []

    async def gather(outgoing: Sequence[Outgoing]) -> None:
        made.extend(outgoing)

    async with broker.database.transaction() as tx:
        yield tx, ServicePublisher(composer, gather, partial(scheduling.keep, tx=tx))
        if made:
            await broker.publish_in(tx, made)
