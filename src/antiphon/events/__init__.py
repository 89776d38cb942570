"""What travels: messages, how events are declared, ids, the clock, and the forms they take on the wire."""

from antiphon.events.clock import Clock, SystemClock
from antiphon.events.declare import Declaration, EventKind, Key, declaration_of, event
from antiphon.events.ids import new_id, repeatable_id
from antiphon.events.message import Message, Outgoing
from antiphon.events.runner import Runner

__all__ = [
    "Clock",
    "Declaration",
    "EventKind",
    "Key",
    "Message",
    "Outgoing",
    "Runner",
    "SystemClock",
    "declaration_of",
    "event",
    "new_id",
    "repeatable_id",
]
