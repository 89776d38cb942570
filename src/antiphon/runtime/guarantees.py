"""What a handler really gets: derived from broker, store and handler, never chosen."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from antiphon.brokers.ports import Broker
from antiphon.errors import DeclarationError, GuaranteeError
from antiphon.outbox.due import is_on
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.route import Handler, Mode
from antiphon.storage.database import Database

_WITH_WATERMARK = (
    "what it returns and the watermark are one transaction of the broker; what is tried again later leaves at least "
    "once, under the same id; effects elsewhere are not part of it"
)


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
        if leaves_with_watermark(handler, broker, inbox=inbox):
            return Derived(Guarantee.EFFECTIVELY_ONCE, _lasting(_WITH_WATERMARK, is_durable))
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
    return Derived(Guarantee.EFFECTIVELY_ONCE, _lasting(reason, is_durable))


def leaves_with_watermark(handler: Handler, broker: Broker, *, inbox: bool) -> bool:
    """Whether what a handler returns leaves in the transaction of the broker that moves the watermark.

    It does where that alone makes it effectively once, and the handler demands that: it costs a transaction a batch.
    """
    is_alone = handler.mode in (Mode.AWAIT, Mode.THREAD) and handler.options.batch_size is None
    is_whole = bool(handler.emits) and not handler.signature.needs.of(Publisher) and not handler.options.settles_first
    is_wanted = (handler.options.guarantee or "").upper() == Guarantee.EFFECTIVELY_ONCE.name
    return is_alone and is_whole and is_wanted and inbox and broker.capabilities.transactions


def _lasting(reason: str, is_durable: bool) -> str:
    return reason if is_durable else f"{reason}; nothing outlives this process"


def demand(handler: Handler, derived: Derived) -> None:
    """Raise GuaranteeError when the handler demands more than it gets."""
    demanded = handler.options.guarantee
    if demanded is not None and derived.guarantee < Guarantee[demanded.upper()]:
        raise GuaranteeError(handler.name, demanded, derived.guarantee.label, derived.reason)
