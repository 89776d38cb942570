"""Which messages of a publish may go out, when some are refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.errors import Refusal
from antiphon.events.message import Outgoing

Objection = Callable[[Outgoing], str | None]
"""Says why a message cannot be taken, or None when it can."""


def screen(outgoing: Sequence[Outgoing], objection: Objection) -> tuple[list[Outgoing], list[Refusal]]:
    """What may be sent, in order, and a refusal for each of the others.

    After a key's first refusal everything later of that key in that topic is refused as well, so that no
    message overtakes the one before it. Nothing is wrong with those: they may be tried again without it.
    """
    accepted: list[Outgoing] = []
    refusals: list[Refusal] = []
    stopped: dict[tuple[str, str], str] = {}
    for each in outgoing:
        topic, message = each
        first = stopped.get((topic, message.key)) if stopped and message.key is not None else None
        reason = objection(each) if first is None else f"message {first} of the same key was refused before it"
        if reason is None:
            accepted.append(each)
            continue
        refusals.append(Refusal(topic, message.id, reason, retryable=first is not None))
        if message.key is not None:
            stopped.setdefault((topic, message.key), message.id)
    return accepted, refusals
