"""What is said at the start, and by `describe`: one readable summary of what runs and what is guaranteed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.runtime.description import EventDescription, HandlerDescription, ServiceDescription

_INDENT = "  "


def summarize(services: Sequence[ServiceDescription]) -> str:
    """Plain text for a terminal or a log file; it ends with a line break."""
    return "\n\n".join("\n".join(_service(service)) for service in services) + "\n"


def _service(service: ServiceDescription) -> Iterator[str]:
    yield f"{service.name}  (group {service.group})"
    yield f"{_INDENT}broker  {service.broker_path or service.broker}"
    if service.store is not None and not service.store.endswith(service.broker_path or service.broker):
        yield f"{_INDENT}store   {service.store}"
    if service.has_outbox:
        yield f"{_INDENT}relay   publishes what transactions emit, from the outbox of the store"
    for topic in service.topics:
        uses = " and ".join(word for word, used in (("read", topic.reads), ("written", topic.writes)) if used)
        yield f"{_INDENT}topic   {topic.name}: {uses}, {topic.partitions} partition{'s' * (topic.partitions != 1)}"
    for gate in service.gates:
        for kind, told in (("breaker", gate.breaker), ("limit", gate.limit)):
            if told is not None:
                yield f"{_INDENT}{kind} {gate.topic}: {told}; it stops {', '.join(gate.stops)}"
    for replica in service.replicas:
        yield f"{_INDENT}replica {_named(replica)}"
    for runner in service.runners:
        yield f"{_INDENT}runner  {runner}"
    for note in service.notes:
        yield f"{_INDENT}note    {note}"
    if not service.handlers and not service.replicas:
        yield f"{_INDENT}no handlers: whatever comes is left alone"
    for handler in service.handlers:
        yield from _handler(handler)


def _handler(handler: HandlerDescription) -> Iterator[str]:
    batch = f" in batches of up to {handler.batch}" if handler.batch else ""
    emits = ", ".join(event.name for event in handler.emits) or "nothing"
    if handler.answers is not None:
        reply = f"{handler.answers.name} to whoever asks"
        emits = f"{reply}, {emits}" if handler.emits else reply
    yield ""
    yield f"{_INDENT}{handler.name}: {' | '.join(_named(event) for event in handler.events)}{batch} ─▶ {emits}"
    yield f"{_INDENT * 2}guarantee  {handler.guarantee}: {handler.reason}"
    yield f"{_INDENT * 2}on failure {handler.policy}"
    yield f"{_INDENT * 2}order      {handler.order}"
    yield f"{_INDENT * 2}runs       {handler.mode}, events newer than the code: {handler.newer}"
    yield f"{_INDENT * 2}written at {handler.place}"


def _named(event: EventDescription) -> str:
    version = f" v{event.version}" if event.version != 1 else ""
    return f"{event.name}{version} from {event.topic}"
