"""Antiphon: event-driven microservices as plain typed Python, on any broker, with every guarantee stated and proven."""

from msgspec import Struct

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Delivery, Start
from antiphon.errors import AntiphonError, RejectError
from antiphon.events.declare import EventKind, Key, event
from antiphon.events.message import Message
from antiphon.resilience.policy import Retry
from antiphon.runtime.host import run
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.replica import Replica
from antiphon.runtime.service import Service
from antiphon.storage.database import Database, Transaction

__all__ = [
    "AntiphonError",
    "Database",
    "Delivery",
    "EventKind",
    "Key",
    "Message",
    "Publisher",
    "RejectError",
    "Replica",
    "Retry",
    "Service",
    "Start",
    "Struct",
    "Transaction",
    "connect",
    "event",
    "run",
]
