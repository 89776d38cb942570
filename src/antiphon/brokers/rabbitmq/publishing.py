"""How a batch is published: placed by key, sent in order, confirmed together, and every refused message named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from antiphon.brokers.placement import place
from antiphon.brokers.rabbitmq.codec import Envelope, objection
from antiphon.brokers.rabbitmq.confirming import NOT_TAKEN, UNROUTED
from antiphon.brokers.rabbitmq.driver import MissingError
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.brokers.screening import screen
from antiphon.errors import ConnectionLostError, Refusal
from antiphon.events.message import Outgoing

_PASSING = (UNROUTED, NOT_TAKEN)


class Roads(Protocol):
    """How messages get to the partitions of topics."""

    def known(self, topic: str, number: int) -> bytes | None:
        """How to publish to a partition; None while it is not certain that somebody takes it."""
        ...

    def forget(self, topic: str | None = None) -> None:
        """Look again for what this topic, or every topic, has."""
        ...

    async def make_topics(self, partitions: Mapping[str, int | None]) -> None:
        """Make those that are missing, with the default where it is None."""
        ...

    async def open_routes(self, places: Iterable[tuple[str, int]]) -> None:
        """See to it that what is published there is kept."""
        ...

    async def mend(self, places: Sequence[tuple[str, int]]) -> None:
        """Make anew what somebody took away."""
        ...


class Publishing:
    """Publishes to topics."""

    def __init__(self, registry: Registry, lines: Roads, outlet: Outlet, max_message_bytes: int) -> None:
        self._registry, self._lines, self._outlet = registry, lines, outlet
        self._limit = max_message_bytes
        self._turn = 0

    async def publish(self, outgoing: Sequence[Outgoing]) -> Sequence[Refusal]:
        """Return when the server holds all but those that are refused. Raises ConnectionLostError."""
        refusals: Sequence[Refusal] = ()
        places = await self._places(outgoing)
        try:
            envelopes = self._envelopes(outgoing, places)
        except ValueError:
            accepted, refusals = self.screened(outgoing)
            outgoing, places = accepted, await self._places(accepted)
            envelopes = self._envelopes(outgoing, places)
        refused = await self._send(envelopes, outgoing, places)
        return [*refusals, *named(outgoing, refused)]

    def screened(self, outgoing: Sequence[Outgoing]) -> tuple[list[Outgoing], list[Refusal]]:
        """What may be sent, and a refusal for each of the others."""
        return screen(outgoing, lambda each: objection(each.message, self._limit))

    async def _send(
        self, envelopes: Sequence[Envelope], outgoing: Sequence[Outgoing], places: Sequence[tuple[str, int]]
    ) -> Mapping[int, str]:
        try:
            refused = await self._outlet.send(envelopes)
        except MissingError as error:
            self._lines.forget()
            raise ConnectionLostError(f"{error}; it is made again at the next try") from error
        unrouted = [index for index, reason in refused.items() if reason == UNROUTED]
        if not unrouted:
            return refused
        # Somebody took a queue away: it is made anew, once.
        for index in unrouted:
            self._lines.forget(outgoing[index].topic)
        await self._lines.mend([places[index] for index in unrouted])
        again = await self._outlet.send([envelopes[index] for index in unrouted])
        kept = {index: reason for index, reason in refused.items() if reason != UNROUTED}
        return {**kept, **{unrouted[index]: reason for index, reason in again.items()}}

    async def _places(self, outgoing: Sequence[Outgoing]) -> list[tuple[str, int]]:
        """The partition of each; all of them are there afterwards."""
        partitions = self._registry.topics
        if missing := {topic for topic, _ in outgoing if topic not in partitions}:
            await self._lines.make_topics(dict.fromkeys(missing))
        places: list[tuple[str, int]] = []
        for topic, message in outgoing:
            if message.key is None:
                self._turn += 1
                places.append((topic, self._turn % partitions[topic]))
            else:
                places.append((topic, place(message.key, partitions[topic])))
        if unknown := [each for each in set(places) if self._lines.known(*each) is None]:
            await self._lines.open_routes(unknown)
        return places

    def _envelopes(self, outgoing: Sequence[Outgoing], places: Sequence[tuple[str, int]]) -> list[Envelope]:
        """Raises ValueError where one cannot be taken."""
        known, limit = self._lines.known, self._limit
        envelopes: list[Envelope] = []
        for (_, message), (topic, number) in zip(outgoing, places, strict=True):
            way = known(topic, number)
            if way is None or (message.data is not None and len(message.data) > limit):
                raise ValueError
            envelopes.append(Envelope(way, message, {}))
        return envelopes


def is_passing(reason: str | None) -> bool:
    """Whether what was refused for this may be taken later."""
    return reason in _PASSING


def named(outgoing: Sequence[Outgoing], refused: Mapping[int, str]) -> list[Refusal]:
    """A refusal for each that the server did not take, and for what follows in its key: it has to go again after it."""
    refusals: list[Refusal] = []
    stopped: dict[tuple[str, str], str] = {}
    for index, (topic, message) in enumerate(outgoing) if refused else ():
        reason, first = refused.get(index), stopped.get((topic, message.key or ""))
        may_pass = is_passing(reason)
        if first is not None and message.key is not None:
            reason, may_pass = f"message {first} of the same key was refused before it", True
        if reason is None:
            continue
        refusals.append(Refusal(topic, message.id, reason, retryable=may_pass))
        if message.key is not None:
            stopped.setdefault((topic, message.key), message.id)
    return refusals
