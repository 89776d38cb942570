"""What a handler really gets: derived from broker, store and handler, never chosen."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from antiphon.brokers.ports import Broker
from antiphon.errors import DeclarationError, GuaranteeError
from antiphon.outbox.due import is_on
from antiphon.runtime.route import Handler, Mode
from antiphon.storage.database import Database


class Guarantee(IntEnum):
    """Ordered: a stronger one is greater."""

    AT_MOST_ONCE = 0
    AT_LEAST_ONCE = 1
    EFFECTIVELY_ONCE = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Derived(NamedTuple):
    """The guarantee in force, and what gives or limits it."""

    guarantee: Guarantee
    reason: str


def derive(handler: Handler, broker: Broker, store: Database, *, inbox: bool) -> Derived:
    """The guarantee of one handler on this broker, with its effects in this store.

    Raises DeclarationError for a handler that is settled first, or once by a field, in a service without an inbox.
    """
    if handler.options.once_by is not None and not inbox:
        raise DeclarationError(
            f"{handler.name}: once_by={handler.options.once_by!r} is remembered in the inbox, and this service has "
            "inbox=False: leave out one of the two"
        )
    is_durable = broker.capabilities.durable
    if handler.options.settles_first:
        if not inbox:
            raise DeclarationError(
                f"{handler.name}: settle='first' marks a message in the inbox before it runs, and this service has "
                "inbox=False: leave out one of the two"
            )
        return Derived(
            Guarantee.AT_MOST_ONCE, "settle='first': its mark commits before it runs, so a crash or failure loses it"
        )
    if handler.mode not in (Mode.SHARED, Mode.OWN, Mode.SESSION):
        return Derived(
            Guarantee.AT_LEAST_ONCE, "it asks for no Transaction: a crash between handling and settling repeats it"
        )
    if not inbox:
        return Derived(Guarantee.AT_LEAST_ONCE, "the inbox is off: a message that arrives twice is handled twice")
    reason = "its writes, its inbox mark and what it emits commit together; what comes again is known by its mark"
    if is_on(broker, store):
        reason = "its writes, its inbox mark, what it emits and the watermark commit together"
    if handler.mode is Mode.SESSION:
        reason = f"{reason.replace('its writes', 'what it writes over its session')}"
    if not is_durable:
        reason += "; nothing outlives this process"
    return Derived(Guarantee.EFFECTIVELY_ONCE, reason)


def demand(handler: Handler, derived: Derived) -> None:
    """Raise GuaranteeError when the handler demands more than it gets."""
    demanded = handler.options.guarantee
    if demanded is not None and derived.guarantee < Guarantee[demanded.upper()]:
        raise GuaranteeError(handler.name, demanded, derived.guarantee.label, derived.reason)
