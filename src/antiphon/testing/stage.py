"""The broker of a test of services: it notes what they publish, and takes messages that they did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from antiphon.brokers.ports import Broker, Delivery, Subscription
from antiphon.errors import PublishError, UnrecognizedMessageError
from antiphon.events.clock import Clock
from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.events.wire import recognize
from antiphon.storage.database import Transaction
from antiphon.testing.sabotage import Saboteur

_PATIENCE = timedelta(minutes=1)
"""A fetch wakes by itself when there is something: so that hours of a test's time pass in few steps."""


class Stage(Saboteur):
    """Passes everything on and keeps what services publish, in order; its own `give` leaves no trace."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        super().__init__(broker)
        self.published: list[Outgoing] = []
        self._clock = clock
        self.problems: dict[str, UnrecognizedMessageError] = {}
        """What is wrong with bytes that could not be recognized, by the id of the message they came in."""

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        try:
            await super().publish(outgoing)
        except PublishError as error:
            refused = {refusal.message_id for refusal in error.refusals}
            self.published += [one for one in outgoing if one.message.id not in refused]
            raise
        self.published += outgoing

    async def publish_in(self, tx: Transaction, outgoing: Sequence[Outgoing]) -> None:
        await super().publish_in(tx, outgoing)
        tx.after_commit(partial(self.published.extend, tuple(outgoing)))

    async def give(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish as somebody else."""
        await self.broker.publish(outgoing)

    async def give_bytes(self, topic: str, body: bytes, headers: Mapping[str, str]) -> Message:
        """Publish bytes as a foreign producer's: recognized if they can be, else handed on as unrecognizable."""
        try:
            message = recognize(headers, body, received_at=self._clock.now())
        except UnrecognizedMessageError as error:
            message = Message(new_id(), "", self._clock.now(), body, content_type=None)
            self.problems[message.id] = error
        await self.give([Outgoing(topic, message)])
        return message

    async def fetch(
        self, subscription: Subscription, limit: int, max_bytes: int, wait: timedelta
    ) -> Sequence[Delivery]:
        deliveries = await super().fetch(subscription, limit, max_bytes, max(wait, _PATIENCE))
        for delivery in deliveries if self.problems else ():
            delivery.problem = self.problems.get(delivery.message.id, delivery.problem)
        return deliveries
