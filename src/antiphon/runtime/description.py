"""What a service says of itself before anything runs: its handlers, what they read and emit, and what holds."""

from __future__ import annotations

from msgspec import Struct


class EventDescription(Struct, frozen=True):
    """An event as one service declares it."""

    name: str
    topic: str
    version: int = 1
    kind: str = "domain"
    key: str | None = None
    about: str = ""


class HandlerDescription(Struct, frozen=True, kw_only=True):
    """A handler: what it reads and emits, and what is guaranteed when it fails."""

    name: str
    place: str
    """Where it is written: `module.function (file:line)`."""
    events: tuple[EventDescription, ...]
    emits: tuple[EventDescription, ...] = ()
    answers: EventDescription | None = None
    """What it replies to whoever asks, where its events are requests that it answers."""
    guarantee: str
    reason: str
    """Why the guarantee is what it is."""
    policy: str
    """What happens when it fails."""
    order: str = "by key"
    """Whether what follows a failed message of its key waits behind that, and why not."""
    mode: str = "await"
    """How it runs: awaited, in a thread, in a shared transaction or in its own."""
    newer: str = "pause"
    """What happens to events newer than the code."""
    batch: int | None = None
    """The most events it takes at once, or None when it takes one."""


class TopicDescription(Struct, frozen=True):
    """A topic that the service reads or writes."""

    name: str
    partitions: int
    reads: bool
    writes: bool


class GateDescription(Struct, frozen=True):
    """What may stop fetching from a topic, and the handlers that this stops."""

    topic: str
    breaker: str | None
    limit: str | None
    stops: tuple[str, ...]


class ServiceDescription(Struct, frozen=True, kw_only=True):
    """A service: where it runs, and each of its handlers."""

    name: str
    group: str
    broker: str
    """The broker's URL, without secrets."""
    broker_path: str | None = None
    """The file that holds everything, where the broker is one."""
    store: str | None = None
    """The store of its transactions, when it has one."""
    has_outbox: bool = False
    """Whether what its transactions emit waits in the store's outbox for a relay, which it brings, to publish it."""
    topics: tuple[TopicDescription, ...] = ()
    handlers: tuple[HandlerDescription, ...] = ()
    replicas: tuple[EventDescription, ...] = ()
    """The state-transfer events of which it keeps a local replica."""
    gates: tuple[GateDescription, ...] = ()
    runners: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know besides, such as a declared start for lost positions."""
