"""How a work becomes a message set aside, and who is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from antiphon.events.clock import Clock
from antiphon.observability.context import about
from antiphon.observability.hooks import Delayed, Hooks, Parked
from antiphon.runtime.blocks import Blocks
from antiphon.runtime.shelf import Shelf
from antiphon.runtime.work import Work, fingerprint_of
from antiphon.storage.set_aside import AsideState, Attempt, SetAside

LONGEST_TOLD = 300
"""Characters of an error that a log line has."""


class Log(Protocol):
    """Where it is told."""

    def warning(self, msg: object, *args: object) -> None: ...

    def error(self, msg: object, *args: object, extra: Mapping[str, object] | None = None) -> None: ...


class Owner(Protocol):
    """Whose messages these are, and where they go."""

    service: str
    group: str
    code_version: str
    hooks: Hooks
    blocks: Blocks
    shelf: Shelf

    @property
    def dead_letters(self) -> object: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def log(self) -> Log: ...


class Asides:
    """Makes what is set aside, and counts and tells it once it is certain."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def behind(self, work: Work) -> SetAside:
        """A work that waits behind another one of its lane; it counts no attempt."""
        return self._made(work, AsideState.BEHIND, work.past)

    def delayed(self, work: Work, attempts: Sequence[Attempt], delay: timedelta) -> SetAside:
        """A work that is tried again after `delay`."""
        return self._made(work, AsideState.DELAYED, attempts, delay=delay)

    def parked(self, work: Work, attempts: Sequence[Attempt], reason: str, error: BaseException | None) -> SetAside:
        """A work that is given up."""
        mark = fingerprint_of(work.route.name, work.delivery.message.type, error) if error is not None else reason
        return self._made(work, AsideState.PARKED, attempts, reason=reason, fingerprint=mark)

    def put(self, work: Work, item: SetAside) -> None:
        """Set a work aside outside of any transaction: with the settlement that moves the watermark past it."""
        self._owner.shelf.put(work.delivery, item)
        self.told(work, item)

    def told(self, work: Work, item: SetAside) -> None:
        """Count and tell what became of a work."""
        with about(work.route.instruments.scope, work.delivery.message, len(item.attempts)):
            if item.state is AsideState.PARKED:
                self._tell_parked(work, item)
            elif item.state is AsideState.DELAYED:
                self._tell_delayed(work, item)

    def _tell_parked(self, work: Work, item: SetAside) -> None:
        owner, message = self._owner, work.delivery.message
        work.route.instruments.parked(item.reason, item.fingerprint)
        if owner.hooks.parked:
            owner.hooks.parked(Parked(owner.service, work.route.name, message, item.reason, item.fingerprint))
        extra = {"reason": item.reason}
        if not item.attempts:
            owner.log.error("parked unhandled: %s", item.reason, extra=extra)
            return
        tried = "1 attempt" if len(item.attempts) == 1 else f"{len(item.attempts)} attempts"
        owner.log.error("parked after %s: %s", tried, _said(item.attempts[-1]), extra=extra)

    def _tell_delayed(self, work: Work, item: SetAside) -> None:
        owner = self._owner
        work.route.instruments.delayed.inc()
        delay = (item.due_at or item.since) - item.since
        if owner.hooks.delayed and item.attempts:
            told = Delayed(owner.service, work.route.name, work.delivery.message, len(item.attempts), delay)
            owner.hooks.delayed(told)
        if item.attempts:
            failed, wait = len(item.attempts), delay.total_seconds()
            said = _said(item.attempts[-1])
            owner.log.warning("attempt %d failed, the next one comes in %.1f s: %s", failed, wait, said)
        else:
            owner.log.warning("put off, uncounted, for %.1f s", delay.total_seconds())

    def _made(
        self,
        work: Work,
        state: AsideState,
        attempts: Sequence[Attempt],
        *,
        delay: timedelta | None = None,
        reason: str = "",
        fingerprint: str = "",
    ) -> SetAside:
        owner, delivery, now = self._owner, work.delivery, self._owner.clock.now()
        # In the broker's own queue a dead letter is out of its lane, and nothing can wait behind it.
        is_elsewhere = state is AsideState.PARKED and owner.dead_letters is not None
        lane = None if is_elsewhere else owner.blocks.lane_of(work)
        return SetAside(
            message=delivery.message,
            topic=delivery.partition.topic,
            partition=delivery.partition.number,
            position=delivery.position,
            service=owner.service,
            group=owner.group,
            handler=work.route.name,
            lane=None if lane is None else lane[1],
            state=state,
            since=now,
            due_at=None if delay is None else now + delay,
            attempts=tuple(attempts),
            reason=reason,
            fingerprint=fingerprint,
            code_version=owner.code_version,
        )


def _said(attempt: Attempt) -> str:
    """What an attempt failed of, on one line; the whole is kept with the message."""
    text = attempt.text.strip().partition("\n")[0]
    short = text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]}..."
    return f"{attempt.error}: {short}" if short else attempt.error
