"""How an application's own writes and the events they mean commit together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.publisher import Publisher, ServicePublisher
from antiphon.runtime.scheduling import Scheduling
from antiphon.runtime.staging import Staging
from antiphon.storage.database import Database, Transaction


@asynccontextmanager
async def transact(
    store: Database, composer: Composer, staging: Staging, scheduling: Scheduling
) -> AsyncGenerator[tuple[Transaction, Publisher]]:
    """A transaction on the store, and a publisher whose events are published, or scheduled, when it commits."""
    made: list[Outgoing] = []

    async def gather(outgoing: Sequence[Outgoing]) -> None:
        made.extend(outgoing)

    async with store.transaction() as tx:
        yield tx, ServicePublisher(composer, gather, partial(scheduling.keep, tx=tx))
        if made:
            await staging.publish_in(tx, made)
