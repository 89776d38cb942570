"""How declared handlers become routes, once, at start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from antiphon.events.declare import declaration_of
from antiphon.observability.bounded import BoundedValues
from antiphon.observability.metrics import Metrics
from antiphon.resilience import AT_ONCE, Retry
from antiphon.runtime.declared import Declared, Fetching
from antiphon.runtime.gates import Gates
from antiphon.runtime.instruments import HandlerInstruments
from antiphon.runtime.options import Choices
from antiphon.runtime.route import Fetcher, Handler, Route, compile_call
from antiphon.runtime.stand_ins import StandIns
from antiphon.runtime.wrapping import wrap
from antiphon.schemas.codec import codec_for


class Compiled(Protocol):
    """What a service brings that goes into its routes."""

    declared: Declared
    metrics: Metrics
    choices: Choices
    stand_ins: StandIns | None


def compile_routes(plan: Compiled, dependencies: Mapping[type, object]) -> dict[str, dict[str, Route]]:
    """The route of each event, by topic and name. Raises DeclarationError where an event's types do not resolve."""
    routes: dict[str, dict[str, Route]] = defaultdict(dict)
    declared, fingerprints = plan.declared, BoundedValues()
    for (topic, name), (handler, event) in declared.by_event.items():
        fetching = declared.fetching(event)
        call = compile_call(handler, dependencies, None if fetching is None else fetching.gives)
        topic_name = declaration_of(event).topic
        route = Route(
            handler,
            codec_for(event),
            call,
            HandlerInstruments(plan.metrics, declared.service, handler.name, topic_name, fingerprints),
            policy_of(handler, event, plan.choices),
            _fetcher(event, fetching, plan.stand_ins),
            bool(declared.middleware),
        )
        if declared.middleware:
            wrap(route, declared.middleware)
        routes[topic][name] = route
    for by_name in routes.values():
        if plan.stand_ins is not None and plan.stand_ins.meddle is not None:
            for route in by_name.values():
                plan.stand_ins.meddle(route)
        batched = any(route.batch_size is not None for route in by_name.values())
        for route in by_name.values():
            route.by_partition = batched
            route.by_key = route.by_key and not batched
    return routes


def policy_of(handler: Handler, event: type, choices: Choices) -> Retry:
    """What follows a failure of this handler on this event: its own policy, else the event's, else the service's."""
    if handler.options.settles_first:
        return AT_ONCE
    return handler.options.policy or choices.policies.get(event) or choices.policy


def stop_at_gates(routes: Mapping[str, Mapping[str, Route]], gates: Gates) -> None:
    """Let the outcomes of each route be told to the gate of its topic, where that listens."""
    for topic, by_name in routes.items():
        gate = gates.of(topic)
        for route in by_name.values():
            route.gate = gate if gate.circuit is not None or gate.rate is not None else None


def _fetcher(event: type, fetching: Fetching | None, stand_ins: StandIns | None) -> Fetcher | None:
    if fetching is None:
        return None
    instead = None if stand_ins is None else stand_ins.fetcher(event)
    return instead or fetching.function
