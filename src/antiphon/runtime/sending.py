"""How messages leave for the broker, measured and told: what handlers emit, and what an application publishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Sequence
from operator import attrgetter
from time import perf_counter

from antiphon.brokers.ports import Broker
from antiphon.errors import BrokerError, PublishError, StoreError
from antiphon.events.message import Outgoing
from antiphon.observability import names
from antiphon.observability.hooks import Hooks, Parked, Published
from antiphon.observability.metrics import Metrics
from antiphon.storage.set_aside import SetAside

_TOPIC_OF = attrgetter("topic")


class Sending:
    """Publishes for one service. Many tasks may use it at once."""

    def __init__(self, service: str, broker: Broker, metrics: Metrics, hooks: Hooks) -> None:
        self._service, self._broker, self._metrics, self._hooks = service, broker, metrics, hooks
        self._system = broker.url.partition(":")[0]
        self._durations = metrics.histogram(names.OPERATION_DURATION, system=self._system, operation="send")

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """As `Broker.publish`."""
        await self.send(outgoing, self._broker.publish(outgoing))

    async def send(self, outgoing: Sequence[Outgoing], call: Awaitable[None], *, whole: bool = False) -> None:
        """Await the `call` that publishes `outgoing`, and tell how that went. `whole`: all of it is held, or none."""
        began = perf_counter()
        try:
            await call
        except PublishError as error:
            self.failed([refusal.topic for refusal in error.refusals], error)
            refused = {refusal.message_id for refusal in error.refusals}
            if not whole:
                self.sent([one for one in outgoing if one.message.id not in refused])
            raise
        except (BrokerError, StoreError) as error:
            self.failed([one.topic for one in outgoing], error)
            raise
        self._durations.observe(perf_counter() - began)
        self.sent(outgoing)

    def failed(self, topics: Sequence[str], error: BaseException) -> None:
        """Count messages that were not published, by the topic of each."""
        for topic, count in Counter(topics).items():
            self._metrics.counter(names.PUBLISH_FAILURES, topic=topic, error=type(error).__name__).inc(count)

    def parked(self, item: SetAside) -> None:
        """Count and tell what the broker refused for good, after it was staged."""
        labels = {"handler": item.handler, "reason": item.reason, "fingerprint": item.fingerprint}
        self._metrics.counter(names.PARKED, **labels).inc()
        if self._hooks.parked:
            told = Parked(self._service, item.handler, item.message, item.reason, item.fingerprint)
            self._hooks.parked(told)

    def sent(self, outgoing: Sequence[Outgoing]) -> None:
        """Count and tell what the broker holds now."""
        counts = Counter(map(_TOPIC_OF, outgoing))
        for topic, count in counts.items():
            self._metrics.counter(names.SENT, system=self._system, topic=topic).inc(count)
        if self._hooks.published:
            for topic in counts:
                messages = tuple(one.message for one in outgoing if one.topic == topic)
                self._hooks.published(Published(self._service, topic, messages))
