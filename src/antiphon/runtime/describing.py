"""How a service's declarations, broker and settings become its description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from antiphon.brokers.ports import Broker, Start
from antiphon.events.declare import Declaration, declaration_of
from antiphon.runtime.compiling import policy_of
from antiphon.runtime.description import (
    EventDescription,
    GateDescription,
    HandlerDescription,
    ServiceDescription,
    TopicDescription,
)
from antiphon.runtime.guarantees import Derived, demand, derive
from antiphon.runtime.route import Handler
from antiphon.runtime.running import Plan
from antiphon.runtime.sessions import check_sessions
from antiphon.runtime.settings import Settings
from antiphon.runtime.signature import where
from antiphon.runtime.staging import has_relay
from antiphon.runtime.storeless import is_missing
from antiphon.storage.database import Database


def describe_service(plan: Plan, broker: Broker, store: Database, settings: Settings) -> ServiceDescription:
    """What the service would do on this broker; nothing is opened.

    Raises DeclarationError or GuaranteeError when it could not start.
    """
    plan.declared.check(plan.choices.policies)
    check_sessions(plan.declared.handlers, broker, store, plan.choices.sessions)
    declared = plan.declared
    reads, writes = set(declared.topics_read()), {each.topic for each in declared.emits()}
    return ServiceDescription(
        name=plan.name,
        group=settings.of_service(plan.name).group or plan.name,
        broker=broker.url,
        broker_path=_path(broker),
        store=None if is_missing(store) else store.url,
        has_outbox=has_relay(broker, store, plan.choices.outbox),
        topics=tuple(
            TopicDescription(topic, settings.topic(topic).partitions, topic in reads, topic in writes)
            for topic in sorted(reads | writes)
        ),
        handlers=tuple(_describe_handler(handler, plan, broker, store) for handler in declared.handlers),
        replicas=_events(declared.replicas),
        gates=tuple(_gates(plan)),
        runners=tuple(runner.name for runner in declared.runners),
        notes=tuple(_notes(plan)),
    )


def _describe_handler(handler: Handler, plan: Plan, broker: Broker, store: Database) -> HandlerDescription:
    derived = derive(handler, broker, store, inbox=plan.choices.inbox)
    demand(handler, derived)
    return HandlerDescription(
        name=handler.name,
        place=where(handler.function),
        events=_events([declaration_of(event) for event in handler.signature.events]),
        emits=_events([declaration_of(event) for event in handler.emits]),
        answers=None if handler.reply is None else _events([declaration_of(handler.reply)])[0],
        guarantee=derived.guarantee.label,
        reason=_reason(handler, derived),
        policy=_policy(handler, plan) if handler.reply is None else _told(_policy(handler, plan)),
        order=_order(handler, broker),
        mode=handler.mode.value,
        newer=handler.options.newer,
        batch=handler.options.batch_size,
    )


def _reason(handler: Handler, derived: Derived) -> str:
    """Why the guarantee is what it is, and by what a message is known again where that is not its id."""
    field = handler.options.once_by
    return (
        derived.reason if field is None else f"{derived.reason}; what has the same {field} is a duplicate, under any id"
    )


def _policy(handler: Handler, plan: Plan) -> str:
    """What follows a failure; with the event's name where that differs between its events."""
    told = {
        declaration_of(event).name: policy_of(handler, event, plan.choices).describe()
        for event in handler.signature.events
    }
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{name}: {policy}" for name, policy in told.items())


def _told(policy: str) -> str:
    """What follows a failure of who answers: where others park, whoever asked is told."""
    return f"{policy}; instead of parking, whoever asked is told"


def _order(handler: Handler, broker: Broker) -> str:
    if handler.reply is not None and not handler.options.ordered:
        return "none: requests do not wait for each other"
    if not handler.options.ordered:
        return "given up: nothing waits behind a failed message of its key"
    if all(declaration_of(event).key_field is None for event in handler.signature.events):
        return "none: its events have no key"
    if not broker.capabilities.key_order:
        return "not kept: this broker does not keep the order of a key"
    if handler.options.batch_size is not None:
        return "by key: what follows a failed batch of its key waits behind it; within a batch the handler decides"
    return "by key: what follows a failed message of its key waits behind it"


def _gates(plan: Plan) -> list[GateDescription]:
    breakers, limits = plan.declared.gates(plan.choices.breaker, plan.choices.limit)
    return [
        GateDescription(
            topic,
            breakers[topic].describe() if topic in breakers else None,
            limits[topic].describe() if topic in limits else None,
            plan.declared.handlers_of(topic),
        )
        for topic in plan.declared.topics_read()
        if topic in breakers or topic in limits
    ]


def _events(declared: Sequence[Declaration]) -> tuple[EventDescription, ...]:
    return tuple(
        EventDescription(each.name, each.topic, each.version, each.kind.value, each.key_field, each.description or "")
        for each in declared
    )


def _path(broker: Broker) -> str | None:
    scheme, _, rest = broker.url.partition(":///")
    return str(Path(rest.partition("?")[0])) if scheme == "embedded" else None


def _notes(plan: Plan) -> list[str]:
    notes: list[str] = []
    if not plan.choices.inbox:
        notes.append("the inbox is off: duplicates are not recognized")
    if plan.choices.subscribing.start is not Start.START:
        notes.append(f"a group without a position begins at the {plan.choices.subscribing.start.value}")
    if plan.choices.subscribing.lost is not Start.STOP:
        place = plan.choices.subscribing.lost.value
        notes.append(f"when retention deleted its position it goes on from the {place}; skips are counted")
    return notes
