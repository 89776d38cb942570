"""What can go wrong in a simulation, how often it does, and with which error a handler fails."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from enum import StrEnum
from random import Random
from typing import Literal, NamedTuple

from antiphon.errors import RejectError
from antiphon.resilience import Retry


class Trouble(StrEnum):
    """Something that a simulator does to services."""

    FAILURE = "failure"
    """Handlers raise: for a while or for good, what their policy takes for transient, permanent or ignorable."""
    DELAY = "delay"
    """Handlers and calls take their time, so that what runs side by side comes in another order."""
    DEADLINE = "deadline"
    """A message is of no use after a while."""
    DUPLICATE = "duplicate"
    """A message is published once more, with the same id."""
    CRASH = "crash"
    """A process ends in the middle of whatever it does; others notice at once or later."""
    DRAIN = "drain"
    """A process stops in order."""
    EVICTION = "eviction"
    """A process loses its partitions or its hold of messages while it works on them."""
    FREEZE = "freeze"
    """A process stands still for a while; when that is long, others take over what it had, and it does not know."""
    BROKER = "broker"
    """The broker cannot be reached for a while, or takes what is published and cannot say so."""
    STORE = "store"
    """The store is busy for a while."""
    OUTAGE = "outage"
    """Whatever handlers call is down for a while: all of them fail."""
    PAUSE = "pause"
    """An operator pauses a topic for a while."""
    REDRIVE = "redrive"
    """An operator has dead letters handled again."""
    DROP = "drop"
    """An operator drops dead letters."""


ALL_TROUBLES = frozenset(Trouble)


class SimulatedError(Exception):
    """What a handler raises because the simulator wants it to. The text tells it from every other one."""


class OutageError(SimulatedError):
    """What a handler calls is down."""


class Weather:
    """How often each trouble comes in one run. It is drawn first, since a run with few of them goes deeper."""

    def __init__(self, random: Random, troubles: Collection[Trouble]) -> None:
        self._random = random
        self._rates = {trouble: random.choice((0.0, 0.5, 1.0, 1.0, 3.0)) for trouble in Trouble if trouble in troubles}

    def end(self) -> None:
        """Let none come any more."""
        self._rates.clear()

    def rate(self, trouble: Trouble) -> float:
        """How often it comes: 1 is usual, 0 never."""
        return self._rates.get(trouble, 0.0)

    def strikes(self, trouble: Trouble, share: float) -> bool:
        """Whether it comes now, as it usually does in this share of all cases."""
        rate = self.rate(trouble)
        return rate > 0 and self._random.random() < share * rate


class Ailment(NamedTuple):
    """How one message fails in one handler: the first `times` attempts raise, before or after the handler ran."""

    kind: Literal["none", "transient", "permanent", "ignorable", "canceled"] = "none"
    times: int = 0
    late: bool = False


HEALTHY = Ailment()


def draw_ailment(random: Random, policy: Retry, share: float) -> Ailment:
    """What ails a message, where so many of them are to fail."""
    if random.random() >= share:
        return HEALTHY
    late, attempts = random.random() < 0.5, policy.immediate + policy.delayed + 1
    draw = random.random()
    if draw < 0.6:
        return Ailment("transient", random.randint(1, attempts + 1), late)
    if draw < 0.8:
        return Ailment("permanent", random.choice((1, 1, 2, 1000)), late)
    if draw < 0.9 and policy.ignorable:
        return Ailment("ignorable", 1000, late)
    return Ailment("canceled", random.randint(1, 2), late)


def error_of(ailment: Ailment, policy: Retry, text: str) -> Exception | asyncio.CancelledError:
    """What is raised for it. A class that a policy lists is used where it takes a text."""
    if ailment.kind == "canceled":
        return asyncio.CancelledError(text)
    listed = {"permanent": policy.permanent, "ignorable": policy.ignorable}.get(ailment.kind, policy.transient)
    default = RejectError if ailment.kind == "permanent" else SimulatedError
    for each in listed:
        try:
            error = each(text)
        except TypeError:
            continue
        if isinstance(error, Exception) and str(error) == text:
            return error
    return default(text)
