"""What becomes of each message of a batch that is offered to a broker? A refused one stops its key, and no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from antiphon.errors import AntiphonError, BrokerError, PublishError, SchemaError, StatementError
from antiphon.events.message import Outgoing
from antiphon.storage.outbox import Staged
from antiphon.storage.set_aside import Lane
from antiphon.storage.texts import kept

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


def lane_of(staged: Staged) -> Lane | None:
    """The messages that it must not overtake nor be overtaken by; None where it has no key."""
    topic, message = staged.outgoing
    return None if message.key is None else (topic, kept(message.key))


class Posting:
    """One shot: offers messages in order, and knows of each what became of it, also when it raises."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._stopped: set[Lane | None] = set()
        self.published: list[Staged] = []
        self.refused: list[tuple[Staged, str, Exception]] = []
        """Never to be taken: each with a reason, and the error that said so."""
        self.behind: list[Staged] = []
        """Not offered, since they follow one of their key that was refused."""
        self.waiting: list[Staged] = []
        """Refused for now."""
        self.error: Exception | None = None
        """What was raised last, if anything was."""

    async def run(self, batch: Sequence[Staged]) -> None:
        """Return when it is decided of each. Raises what is no message's fault, such as a broker that is not there."""
        if not batch:
            return
        try:
            await self._publish([each.outgoing for each in batch])
        except PublishError as error:
            self.error = error
            self._sort_out(batch, error)
        except AntiphonError as error:
            self.error = error
            if not _blames_a_message(error):
                raise
            await self._run_apart(batch, error)
        else:
            self.published += batch

    async def _run_apart(self, batch: Sequence[Staged], error: AntiphonError) -> None:
        """Find out which message is to blame."""
        if len(batch) == 1:
            self._refuse(batch[0], str(error), error)
            return
        for each in batch:
            if lane_of(each) in self._stopped:
                self.behind.append(each)
            else:
                await self.run([each])

    def _sort_out(self, batch: Sequence[Staged], error: PublishError) -> None:
        refusals = {refusal.message_id: refusal for refusal in error.refusals}
        if not any(each.outgoing.message.id in refusals for each in batch):
            raise error  # it says nothing of these, so that nobody knows of any that the broker holds it
        for each in batch:
            refusal = refusals.get(each.outgoing.message.id)
            if refusal is None:
                self.published.append(each)
            elif lane_of(each) in self._stopped:
                self.behind.append(each)
            elif refusal.retryable:
                self.waiting.append(each)
            else:
                self._refuse(each, refusal.reason, error)

    def _refuse(self, each: Staged, reason: str, error: Exception) -> None:
        self.refused.append((each, reason, error))
        if (lane := lane_of(each)) is not None:
            self._stopped.add(lane)


def _blames_a_message(error: AntiphonError) -> bool:
    """Whether one message is to blame, not the road to the broker or the store as a whole."""
    return isinstance(error, BrokerError | SchemaError | StatementError) and not error.retryable
