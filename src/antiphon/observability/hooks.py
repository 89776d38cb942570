"""Who wants to watch: observers of what a service does, which cannot change what becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from msgspec import Struct

from antiphon.events.discretion import hide_values
from antiphon.events.message import Message
from antiphon.observability.metrics import Metrics
from antiphon.observability.names import HOOK_FAILURES

T = TypeVar("T")
_log = logging.getLogger("antiphon.hooks")


class Handled(Struct, frozen=True):
    """A handler succeeded."""

    service: str
    handler: str
    message: Message
    attempt: int
    duration: timedelta


class Failed(Struct, frozen=True):
    """One attempt failed."""

    service: str
    handler: str
    message: Message
    attempt: int
    error: BaseException


class Delayed(Struct, frozen=True):
    """A message was put off: it is tried again after `delay`."""

    service: str
    handler: str
    message: Message
    attempt: int
    delay: timedelta


class Parked(Struct, frozen=True):
    """A message became a dead letter. `fingerprint` is the same for the same failure."""

    service: str
    handler: str | None
    message: Message
    reason: str
    fingerprint: str = ""


class Published(Struct, frozen=True):
    """The broker holds these messages, or they committed."""

    service: str
    topic: str
    messages: tuple[Message, ...]


class CircuitChanged(Struct, frozen=True):
    """The breaker of a topic opened, let trials through, or closed."""

    service: str
    topic: str
    state: str


class StateChanged(Struct, frozen=True):
    """The service started, drains, or stopped."""

    service: str
    state: str


class Hook(Generic[T]):
    """One moment that can be watched. It is false while nobody watches, so that nothing need be built for it."""

    __slots__ = ("_failures", "_observers", "_reported", "name")

    def __init__(self, name: str, metrics: Metrics) -> None:
        self.name = name
        self._observers: list[Callable[[T], None]] = []
        self._reported: set[int] = set()
        self._failures = metrics.counter(HOOK_FAILURES, hook=name)

    def watch(self, observer: Callable[[T], None]) -> Callable[[T], None]:
        """Call `observer` from now on, inline: it must not wait. Also works as a decorator."""
        self._observers.append(observer)
        return observer

    def unwatch(self, observer: Callable[[T], None]) -> None:
        """Call `observer` no more. Twice is safe."""
        self._observers = [each for each in self._observers if each != observer]

    def __bool__(self) -> bool:
        return bool(self._observers)

    def __call__(self, fact: T) -> None:
        """Tell every observer. What one raises is counted, logged the first time, and stops here by design."""
        for observer in self._observers:
            try:
                observer(fact)
            except Exception as error:  # noqa: BLE001 - an observer cannot change the outcome
                self._report(observer, error)

    def _report(self, observer: Callable[[T], None], error: Exception) -> None:
        self._failures.inc()
        if id(observer) not in self._reported:
            self._reported.add(id(observer))
            hide_values(error)
            name = getattr(observer, "__qualname__", repr(observer))
            _log.error("hook %s on %r failed; this is logged once and counted after", name, self.name, exc_info=error)


class Hooks:
    """The moments of one service that can be watched."""

    def __init__(self, metrics: Metrics) -> None:
        self.handled: Hook[Handled] = Hook("handled", metrics)
        self.failed: Hook[Failed] = Hook("failed", metrics)
        self.delayed: Hook[Delayed] = Hook("delayed", metrics)
        self.parked: Hook[Parked] = Hook("parked", metrics)
        self.circuit_changed: Hook[CircuitChanged] = Hook("circuit_changed", metrics)
        self.published: Hook[Published] = Hook("published", metrics)
        self.state_changed: Hook[StateChanged] = Hook("state_changed", metrics)
