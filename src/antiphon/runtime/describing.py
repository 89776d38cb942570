"""How a service's declarations, broker and settings become its description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from antiphon.brokers.ports import Broker, Start, StoreBroker
from antiphon.events.declare import Declaration, declaration_of
from antiphon.runtime.description import EventDescription, HandlerDescription, ServiceDescription, TopicDescription
from antiphon.runtime.guarantees import demand, derive
from antiphon.runtime.route import Handler
from antiphon.runtime.running import Plan
from antiphon.runtime.settings import Settings
from antiphon.runtime.signature import where


def describe_service(plan: Plan, broker: Broker, settings: Settings) -> ServiceDescription:
    """What the service would do on this broker; nothing is opened.

    Raises DeclarationError or GuaranteeError when it could not start.
    """
    plan.declared.check()
    declared = plan.declared
    reads, writes = set(declared.topics_read()), {each.topic for each in declared.emits()}
    return ServiceDescription(
        name=plan.name,
        group=settings.of_service(plan.name).group or plan.name,
        broker=broker.url,
        broker_path=_path(broker),
        store=broker.database.url if isinstance(broker, StoreBroker) else None,
        topics=tuple(
            TopicDescription(topic, settings.topic(topic).partitions, topic in reads, topic in writes)
            for topic in sorted(reads | writes)
        ),
        handlers=tuple(_describe_handler(handler, plan, broker) for handler in declared.handlers),
        replicas=_events(declared.replicas),
        runners=tuple(runner.name for runner in declared.runners),
        notes=tuple(_notes(plan)),
    )


def _describe_handler(handler: Handler, plan: Plan, broker: Broker) -> HandlerDescription:
    shares = isinstance(broker, StoreBroker)
    derived = derive(handler, broker.capabilities, shares_store=shares, inbox=plan.inbox)
    demand(handler, derived)
    return HandlerDescription(
        name=handler.name,
        place=where(handler.function),
        events=_events([declaration_of(event) for event in handler.signature.events]),
        emits=_events([declaration_of(event) for event in handler.emits]),
        guarantee=derived.guarantee.label,
        reason=derived.reason,
        policy=(handler.options.policy or plan.policy).describe(),
        order="by key" if handler.options.ordered else "given up",
        mode=handler.mode.value,
        newer=handler.options.newer,
        batch=handler.options.batch_size,
    )


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
    if not plan.inbox:
        notes.append("the inbox is off: duplicates are not recognized")
    if plan.subscribing.start is not Start.START:
        notes.append(f"a group without a position begins at the {plan.subscribing.start.value}")
    if plan.subscribing.lost is not Start.STOP:
        notes.append(
            f"when retention deleted its position it goes on from the {plan.subscribing.lost.value}; skips are counted"
        )
    return notes
