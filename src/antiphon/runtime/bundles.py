"""What handlers returned and leaves in the broker's transaction that moves the watermark past what they handled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from antiphon.brokers.ports import Delivery, Partition, TransactionalSubscription
from antiphon.errors import LeaseLostError, PublishError
from antiphon.events.clock import Clock
from antiphon.events.message import Outgoing
from antiphon.runtime.asides import Asides
from antiphon.runtime.sending import Sending
from antiphon.runtime.surroundings import reason_of
from antiphon.runtime.window import FINISHED, WAITING
from antiphon.runtime.work import Work, attempt_of
from antiphon.storage.database import Database, Transaction
from antiphon.storage.inbox import Inbox


class Owner(Protocol):
    """Whose handlers they are."""

    sending: Sending
    asides: Asides
    inbox: Inbox | None
    store: Database

    @property
    def clock(self) -> Clock: ...

    def lost_lease(self) -> None: ...


class Bundles:
    """Keeps what was returned, by what was handled, until one transaction holds it and the watermark.

    What is set aside is marked in the inbox in the commit that does so: where the process dies before the watermark
    has passed it, it comes again from the broker, and is known by its mark.
    """

    def __init__(self, owner: Owner, subscription: TransactionalSubscription) -> None:
        self._owner, self._subscription = owner, subscription
        self._kept: dict[Delivery, tuple[Work, Sequence[Outgoing]]] = {}

    def __contains__(self, delivery: object, /) -> bool:
        return delivery in self._kept

    def __bool__(self) -> bool:
        return bool(self._kept)

    def put(self, work: Work, outgoing: Sequence[Outgoing]) -> None:
        """Let this leave once everything before `work` is done, too; it is finished."""
        if work.delivery.state == WAITING:
            self._kept[work.delivery] = (work, outgoing)
            work.delivery.state = FINISHED

    async def leave(self, watermarks: Mapping[Partition, str], passed: Iterable[Delivery]) -> bool:
        """Commit these with what belongs to the messages that they pass; whether they moved.

        They do not where something was refused for good: what returned it is parked first. Raises what
        `TransactionalSubscription.commit_with` does.
        """
        leaving: list[Delivery] = []
        outgoing: list[Outgoing] = []
        for delivery in passed:
            if (kept := self._kept.get(delivery)) is not None:
                leaving.append(delivery)
                outgoing += kept[1]
        if not outgoing:
            await self._subscription.commit(watermarks)
            self._forget(leaving)
            return True
        try:
            await self._owner.sending.send(outgoing, self._subscription.commit_with(watermarks, outgoing), whole=True)
        except PublishError as error:
            if self._park_refused(error):
                return False
            raise
        except LeaseLostError:
            self._owner.lost_lease()
            raise
        self._forget(leaving)
        return True

    def _forget(self, left: Iterable[Delivery]) -> None:
        for delivery in left:
            self._kept.pop(delivery, None)  # what was lost meanwhile is forgotten already

    def sweep(self) -> None:
        """Forget what is not finished any more, such as what was lost."""
        self._kept = {delivery: kept for delivery, kept in self._kept.items() if delivery.state == FINISHED}

    def _park_refused(self, error: PublishError) -> bool:
        """Park what returned messages that no broker will ever take; whether there was any."""
        refused = {refusal.message_id for refusal in error.refusals if not refusal.retryable}
        parked = [work for work, made in self._kept.values() if any(one.message.id in refused for one in made)]
        asides, now = self._owner.asides, self._owner.clock.now()
        for work in parked:
            del self._kept[work.delivery]
            asides.put(work, asides.parked(work, [*work.past, attempt_of(error, now)], reason_of(error), error))
        return bool(parked)

    async def mark(self, tx: Transaction, deliveries: Iterable[Delivery]) -> None:
        """Mark what `tx` sets aside, so that it is known when it comes again."""
        ids = [delivery.message.identity for delivery in deliveries]
        if ids and self._owner.inbox is not None:
            await self._owner.inbox.mark(tx, ids, self._owner.clock.now())

    async def recognize(self, deliveries: Sequence[Delivery]) -> None:
        """Finish those that were set aside before; what becomes of them is known there."""
        inbox = self._owner.inbox
        if not deliveries or inbox is None:
            return
        ids = [delivery.message.identity for delivery in deliveries]
        known = await inbox.known(self._owner.store, ids)
        for delivery, is_known in zip(deliveries, known, strict=True):
            if is_known and delivery.state == WAITING:
                delivery.state = FINISHED
