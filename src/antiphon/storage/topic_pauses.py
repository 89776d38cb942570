"""Which topics did an operator pause, for which group, and why?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from antiphon.storage.database import Database, Transaction
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/topic_pauses.sql")


class TopicPause(Struct, frozen=True):
    """A group handles nothing of this topic until it is resumed. It survives every restart."""

    consumer_group: str
    topic: str
    reason: str
    paused_by: str
    since: datetime


async def pause_topics(tx: Transaction, pauses: Iterable[TopicPause]) -> None:
    """Pause these when `tx` commits. One that is paused already keeps its beginning, and gets the new reason."""
    rows = [(p.consumer_group, p.topic, p.reason, p.paused_by, p.since.isoformat()) for p in pauses]
    await tx.execute_many(_SQL["pause"], rows)


async def resume_topics(tx: Transaction, group: str, topics: Iterable[str]) -> list[str]:
    """Let these go on when `tx` commits; returns those that were paused. Twice is safe."""
    return [topic for each in topics for topic in await tx.fetch(_SQL["resume"], group, each, row=str)]


async def list_topic_pauses(store: Database | Transaction, group: str | None = None) -> Sequence[TopicPause]:
    """What is paused, of one group or of all."""
    return await store.fetch(_SQL["pauses"], group, row=TopicPause)
