"""Which messages do the topics take, as far as is known, and what if they turn out to take more or less?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from antiphon.brokers.kafka.envelope import record_size
from antiphon.brokers.kafka.producing import OverfullRefusal, Publishers
from antiphon.brokers.kafka.topics import Topics
from antiphon.brokers.screening import screen
from antiphon.errors import PublishError, Refusal
from antiphon.events.message import Outgoing


class Fitting:
    """What may be sent to topics that are made where they are missing. `largest` is how many bytes data may have.

    How much a topic takes may be changed at any time: it is asked anew when that refuses a message.
    """

    def __init__(self, topics: Topics, largest: int) -> None:
        self._topics, self._largest = topics, largest
        self._limits = topics.limits

    async def sort_out(self, outgoing: Sequence[Outgoing]) -> tuple[Sequence[Outgoing], list[Refusal]]:
        """What may be sent, and why the rest may not."""
        refused: Mapping[str, str] = {}
        if unknown := self._topics.unknown({one.topic for one in outgoing}):
            refused = await self._topics.make_missing(unknown)
        believed = dict(self._limits)
        accepted, refusals = self._screened(outgoing, refused)
        limited = {refusal.topic for refusal in refusals} & believed.keys()
        if limited and await self._learn(limited, believed):
            return self._screened(outgoing, refused)
        return accepted, refusals

    async def require(self, outgoing: Sequence[Outgoing]) -> None:
        """Raise PublishError for what may not be sent."""
        _, refusals = await self.sort_out(outgoing)
        if refusals:
            raise PublishError(refusals)

    async def send(self, publishers: Publishers, outgoing: Sequence[Outgoing]) -> list[Refusal]:
        """As `Publishers.send`; what its topic refused for the company it was in is sent again without that."""
        believed = dict(self._limits)
        refusals = await publishers.send(outgoing)
        overfull = {refusal.topic for refusal in refusals if isinstance(refusal, OverfullRefusal)}
        if not overfull or not (changed := await self._learn(overfull, believed)):
            return refusals
        ids = {each.message_id for each in refusals if isinstance(each, OverfullRefusal) and each.topic in changed}
        accepted, too_large = self._screened([one for one in outgoing if one.message.id in ids], {})
        refusals = [*(each for each in refusals if each.message_id not in ids), *too_large]
        return refusals + await self.send(publishers, accepted) if accepted else refusals

    async def learn_from(self, error: PublishError) -> None:
        """Ask anew what those topics take that refused a batch for its size."""
        await self._topics.learn_limits({each.topic for each in error.refusals if isinstance(each, OverfullRefusal)})

    async def _learn(self, names: Collection[str], believed: Mapping[str, int]) -> set[str]:
        """Which of these topics take more or less than was believed."""
        await self._topics.learn_limits(names)
        return {name for name in names if self._limits.get(name) != believed.get(name)}

    def _screened(
        self, outgoing: Sequence[Outgoing], refused: Mapping[str, str]
    ) -> tuple[Sequence[Outgoing], list[Refusal]]:
        return screen(outgoing, lambda one: self._objection(one, refused))

    def _objection(self, outgoing: Outgoing, refused: Mapping[str, str]) -> str | None:
        topic, message = outgoing
        data, limits = message.data, self._limits
        if data is not None and len(data) > self._largest:
            return f"its data has {len(data)} bytes, the limit is {self._largest}"
        if limits and (own := limits.get(topic)) is not None and (size := record_size(message)) > own:
            return f"it may take {size} bytes, and the topic takes {own} (max.message.bytes)"
        return refused.get(topic) if refused else None
