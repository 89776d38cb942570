"""How are topics made before anybody publishes to them or reads them?"""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.brokers.ports import Broker
from antiphon.runtime.settings import Settings


async def make_topics(broker: Broker, names: Iterable[str], settings: Settings) -> None:
    """Make those that are missing, and bring the retention of those that settings name up to date.

    Raises UnsupportedCapabilityError when one has another number of partitions than settings say. Twice is safe.
    """
    known = {topic.name for topic in await broker.topics()}
    for name in sorted(set(names)):
        if name not in known or name in settings.topics:
            await broker.ensure_topic(settings.topic(name))
