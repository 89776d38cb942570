"""What becomes of each message of a batch that is handed to a broker?"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from antiphon.errors import (
    AccessDeniedError,
    AntiphonError,
    BrokerError,
    DataLostError,
    PublishError,
    SchemaError,
    StatementError,
)
from antiphon.events.message import Outgoing
from antiphon.storage.schedule import Due

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]

Batch = Sequence[Due]


class Handover:
    """One shot: hands messages over and sorts out what is refused, so that no message blocks the others.

    `is_whole` says that a publish which is refused in part publishes nothing; else the broker holds the others.
    """

    def __init__(self, publish: Publish, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self._publish = publish
        self.published: list[Due] = []
        self.put_off: list[Due] = []
        """Refused for now."""
        self.in_doubt: list[Due] = []
        """Of these nobody can say whether they were published."""
        self.failed: list[tuple[Due, str]] = []
        """These will never be taken, for a reason."""
        self.error: Exception | None = None
        """What was raised last, if anything was."""
        self.surprise: Exception | None = None
        """The last of it that nobody knows the meaning of."""

    async def run(self, due: Batch) -> None:
        """Return when it is decided of each. Raises what is no message's fault, such as a broker that is not there."""
        batches = deque([due] if due else [])
        try:
            while batches:
                again = await self._offer(batches[0])
                batches.popleft()
                batches.extendleft(reversed(again))
        finally:
            self.in_doubt += [each for batch in batches for each in batch]

    async def _offer(self, batch: Batch) -> Sequence[Batch]:
        """Publish these; returns what is to be published again, in the same order."""
        try:
            await self._publish([each.outgoing for each in batch])
        except PublishError as error:
            self.error = error
            return self._sort_out(batch, error)
        except Exception as error:
            self.error = error
            if isinstance(error, AntiphonError) and not _blames_a_message(error):
                raise
            if len(batch) > 1:
                return [[each] for each in batch]
            self._give_up(batch[0], error)
        else:
            self.published += batch
        return ()

    def _sort_out(self, batch: Batch, error: PublishError) -> Sequence[Batch]:
        refused = {refusal.message_id: refusal for refusal in error.refusals}
        others = [each for each in batch if each.id not in refused]
        failed = [each for each in batch if each.id in refused and not refused[each.id].retryable]
        waiting = [each for each in batch if each.id in refused and refused[each.id].retryable]
        if not failed and not waiting:
            raise error
        self.failed += [(each, refused[each.id].reason) for each in failed]
        if not self.is_whole:
            self.published += others
            others = []
        if not failed:
            self.put_off += waiting
            waiting = []
        # Those that wait beside one that failed may only have been held back behind it.
        kept = {each.id for each in (*others, *waiting)}
        again = [each for each in batch if each.id in kept]
        return [again] if again else ()

    def _give_up(self, due: Due, error: Exception) -> None:
        """What we know keeps it from ever being sent; what we do not know may pass."""
        if isinstance(error, AntiphonError):
            self.failed.append((due, f"{type(error).__name__}: {error}"))
        else:
            self.in_doubt.append(due)
            self.surprise = error


def _blames_a_message(error: AntiphonError) -> bool:
    """Whether one message is to blame, not the road to the broker or the store as a whole."""
    if isinstance(error, AccessDeniedError | DataLostError):
        return False
    return isinstance(error, BrokerError | SchemaError | StatementError) and not error.retryable
