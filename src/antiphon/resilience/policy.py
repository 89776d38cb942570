"""What becomes of a message whose handler failed: again, or parked."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from antiphon.errors import DeclarationError, RejectError, SchemaError, UsageError


class Decision(StrEnum):
    """The next step after a failed attempt."""

    AGAIN = "again"
    PARK = "park"


class Retry(Struct, frozen=True):
    """Try again at once up to `immediate` times, then park the message. Pure: it decides, others act."""

    immediate: int = 3

    def __post_init__(self) -> None:
        if self.immediate < 0:
            raise DeclarationError(f"Retry(immediate={self.immediate}): the number of retries cannot be negative")

    def decide(self, attempt: int, error: BaseException) -> Decision:
        """What to do after `attempt` (from 1) failed with `error`. What cannot change is parked at once."""
        hopeless = isinstance(error, RejectError | SchemaError | UsageError)
        return Decision.PARK if hopeless or attempt > self.immediate else Decision.AGAIN

    def describe(self) -> str:
        """One line for people."""
        if self.immediate == 0:
            return "park at the first failure"
        word = "retry" if self.immediate == 1 else "retries"
        return f"{self.immediate} immediate {word}, then park; rejected and undecodable messages park at once"
