"""How are topics made before anybody publishes to them or reads them?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from antiphon.brokers.ports import Broker
from antiphon.events.message import Outgoing
from antiphon.runtime.settings import Settings


async def make_topics(broker: Broker, names: Iterable[str], settings: Settings) -> None:
    """Make those that are missing, and bring the retention of those that settings name up to date.

    Raises UnsupportedCapabilityError when one has another number of partitions than settings say. Twice is safe.
    """
    known = {topic.name for topic in await broker.topics()}
    for name in sorted(set(names)):
        if name not in known or name in settings.topics:
            await broker.ensure_topic(settings.topic(name))


class TopicMaker:
    """Publishes what others composed, whose topics nobody here declares: those that are missing are made first."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        publish: Callable[[Sequence[Outgoing]], Awaitable[None]] | None = None,
    ) -> None:
        self._broker, self._settings = broker, settings
        self._publish = publish or broker.publish
        self._known: set[str] = set()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """As `Broker.publish`; each topic is looked for once."""
        new = {one.topic for one in outgoing} - self._known
        if new:
            await make_topics(self._broker, new, self._settings)
            self._known |= new
        await self._publish(outgoing)
