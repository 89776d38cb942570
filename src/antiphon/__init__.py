"""Antiphon: event-driven microservices as plain typed Python, on any broker, with every guarantee stated and proven.

The front door. Each name is loaded from its room when it is first asked for, so that a module that only declares
events does not load the runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import Struct

    from antiphon.brokers.connect import connect
    from antiphon.brokers.ports import Delivery, Start
    from antiphon.errors import AntiphonError, RejectError
    from antiphon.events.declare import EventKind, Key, event
    from antiphon.events.message import Message
    from antiphon.resilience.policy import Retry
    from antiphon.runtime.asking import Asker
    from antiphon.runtime.host import run
    from antiphon.runtime.outbox import Outbox
    from antiphon.runtime.publisher import Publisher
    from antiphon.runtime.replica import Replica
    from antiphon.runtime.scripts import publish_blocking
    from antiphon.runtime.service import Service
    from antiphon.storage.database import Database, Transaction

__all__ = [
    "AntiphonError",
    "Asker",
    "Database",
    "Delivery",
    "EventKind",
    "Key",
    "Message",
    "Outbox",
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
    "publish_blocking",
    "run",
]

_ROOMS = {
    "AntiphonError": "antiphon.errors",
    "Asker": "antiphon.runtime.asking",
    "Database": "antiphon.storage.database",
    "Delivery": "antiphon.brokers.ports",
    "EventKind": "antiphon.events.declare",
    "Key": "antiphon.events.declare",
    "Message": "antiphon.events.message",
    "Outbox": "antiphon.runtime.outbox",
    "Publisher": "antiphon.runtime.publisher",
    "RejectError": "antiphon.errors",
    "Replica": "antiphon.runtime.replica",
    "Retry": "antiphon.resilience.policy",
    "Service": "antiphon.runtime.service",
    "Start": "antiphon.brokers.ports",
    "Struct": "msgspec",
    "Transaction": "antiphon.storage.database",
    "connect": "antiphon.brokers.connect",
    "event": "antiphon.events.declare",
    "publish_blocking": "antiphon.runtime.scripts",
    "run": "antiphon.runtime.host",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    value: object = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
