"""Who reacts to what with which event, drawn from descriptions alone: as Mermaid, and as boxes in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from antiphon.runtime.description import EventDescription, HandlerDescription, ServiceDescription

OUTSIDE = "outside"
"""Who emits what no described service emits."""
NOBODY = "nobody"
"""Who handles what no described service handles."""

_Road = tuple[str, str]
_Place = tuple[str, str]


class Edge(Struct, frozen=True):
    """One event on its way from a handler to a handler. Service and handler are None outside of what is described."""

    event: str
    topic: str
    emitted_by: _Place | None
    handled_by: _Place | None


class Flow(Struct, frozen=True):
    """The services in the order in which a story reaches them, and every edge between their handlers."""

    services: tuple[ServiceDescription, ...]
    edges: tuple[Edge, ...]


def flow_of(services: Sequence[ServiceDescription]) -> Flow:
    """The flow between these services. Events meet by topic and name, since each service declares its own classes."""
    emitters, readers = _index(services, emits=True), _index(services, emits=False)
    edges: list[Edge] = []
    for road in dict.fromkeys([*emitters, *readers]):
        for emitter in emitters.get(road) or [None]:
            edges += [Edge(road[1], road[0], emitter, reader) for reader in readers.get(road) or [None]]
    return Flow(tuple(_in_story_order(services, edges)), tuple(edges))


def _index(services: Sequence[ServiceDescription], *, emits: bool) -> dict[_Road, list[_Place | None]]:
    found: dict[_Road, list[_Place | None]] = {}
    for service in services:
        for handler in service.handlers:
            for event in handler.emits if emits else handler.events:
                found.setdefault((event.topic, event.name), []).append((service.name, handler.name))
        for event in () if emits else service.replicas:
            found.setdefault((event.topic, event.name), []).append((service.name, "replica"))
    return found


def _in_story_order(services: Sequence[ServiceDescription], edges: Sequence[Edge]) -> list[ServiceDescription]:
    """First those that the outside reaches, then those that they reach, and so on."""
    waiting = {service.name: service for service in services}
    reached = [edge.handled_by[0] for edge in edges if edge.handled_by and edge.emitted_by is None]
    ordered: list[ServiceDescription] = []
    while waiting:
        name = next((name for name in reached if name in waiting), next(iter(waiting)))
        ordered.append(waiting.pop(name))
        reached += [
            edge.handled_by[0] for edge in edges if edge.handled_by and edge.emitted_by and edge.emitted_by[0] == name
        ]
    return ordered


def mermaid(flow: Flow) -> str:
    """A Mermaid flowchart: a box for each service, a node for each handler, an arrow for each event."""
    lines = ["flowchart LR"]
    for service in flow.services:
        lines.append(f'    subgraph {_id("service", service.name)}["{_text(service.name)}"]')
        names = [handler.name for handler in service.handlers] + (["replica"] if service.replicas else [])
        lines += [f'        {_id(service.name, name)}["{_text(name)}"]' for name in names]
        lines.append("    end")
    if any(edge.emitted_by is None for edge in flow.edges):
        lines.append(f'    {OUTSIDE}(["{OUTSIDE}"])')
    if any(edge.handled_by is None for edge in flow.edges):
        lines.append(f'    {NOBODY}(["{NOBODY}"])')
    return "\n".join([*lines, *(f"    {_arrow(edge)}" for edge in flow.edges)]) + "\n"


def _arrow(edge: Edge) -> str:
    start = _id(*edge.emitted_by) if edge.emitted_by else OUTSIDE
    end = _id(*edge.handled_by) if edge.handled_by else NOBODY
    return f'{start} {"-->" if edge.handled_by else "-.->"}|"{_text(edge.event)}"| {end}'


def _id(*parts: str) -> str:
    """Letters, digits and underscores only; joined by two, so that no word of Mermaid's own comes out."""
    return "__".join(re.sub(r"\W", "_", part, flags=re.ASCII) for part in parts)


def _text(text: str) -> str:
    return text.replace('"', "#quot;")


def boxes(flow: Flow) -> str:
    """The same for a terminal: a box for each service, in it what each handler makes of what, then who hears that."""
    return "\n".join(line for service in flow.services for line in _box(service, flow.edges))


def _box(service: ServiceDescription, edges: Sequence[Edge]) -> Iterator[str]:
    inside = list(_inside(service))
    width = max([len(service.name) + 2, *(len(line) for line in inside)])
    yield f"┌─ {service.name} {'─' * (width - len(service.name) - 1)}┐"
    yield from (f"│ {line:<{width}} │" for line in inside)
    yield f"└{'─' * (width + 2)}┘"
    yield from _heard(service, edges)
    yield ""


def _inside(service: ServiceDescription) -> Iterator[str]:
    rows = [_row(handler) for handler in service.handlers]
    rows += [([event.name], "(replica)", []) for event in service.replicas]
    if not rows:
        yield "(no handlers)"
    left = max((len(name) for reads, _, _ in rows for name in reads), default=0)
    middle = max((len(name) for _, name, _ in rows), default=0)
    for reads, name, emits in rows:
        yield from _row_lines(reads, name, emits, left, middle)


_Row = tuple[list[str], str, list[str]]


def _row(handler: HandlerDescription) -> _Row:
    return _names(handler.events), handler.name, _names(handler.emits)


def _names(events: Iterable[EventDescription]) -> list[str]:
    return [event.name for event in events]


def _row_lines(reads: list[str], name: str, emits: list[str], left: int, middle: int) -> Iterator[str]:
    for index in range(max(len(reads), len(emits), 1)):
        read = reads[index] if index < len(reads) else ""
        emit = emits[index] if index < len(emits) else ""
        into = " ─▶ " if index == 0 else ("    " if not read else " ─┘ ")
        out = " ─▶ " if emit else ""
        yield f"{read:<{left}}{into}{name if index == 0 else '':<{middle}}{out}{emit}".rstrip()


def _heard(service: ServiceDescription, edges: Sequence[Edge]) -> Iterator[str]:
    heard: dict[str, list[str]] = {}
    for edge in edges:
        if edge.emitted_by and edge.emitted_by[0] == service.name:
            listeners = heard.setdefault(edge.event, [])
            listener = edge.handled_by[0] if edge.handled_by else NOBODY
            if listener not in listeners:
                listeners.append(listener)
    width = max((len(event) for event in heard), default=0)
    for event, listeners in heard.items():
        yield f"   {event:<{width}} ─▶ {', '.join(listeners)}"
