"""Which database holds a service's tables: one of its own, or the broker's?"""

from __future__ import annotations

from antiphon.brokers.ports import Broker, StoreBroker
from antiphon.errors import UnsupportedCapabilityError
from antiphon.runtime.storeless import NoStore
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database


def store_of(broker: Broker, service: str) -> Database:
    """The database of a service that was given none: the broker's own. Raises UnsupportedCapabilityError."""
    if isinstance(broker, StoreBroker):
        return broker.database
    raise UnsupportedCapabilityError(
        f"the broker {broker.url}",
        "database of its own",
        f"service {service!r} needs one for its inbox and dead letters: give it one, as in store='sqlite:///app.db'",
    )


def store_if_needed(broker: Broker, service: str, *, is_needed: bool) -> Database:
    """As `store_of`; where none is there and `is_needed` is false, one that refuses whatever needs it."""
    return store_of(broker, service) if is_needed or isinstance(broker, StoreBroker) else NoStore(service)


def is_own_store(broker: Broker, store: Database) -> bool:
    """Whether the broker opens and closes this store."""
    return isinstance(broker, StoreBroker) and broker.database is store


def store_at(url: str, broker: Broker) -> Database:
    """The database that a URL means: the broker's own where it is that. Raises SettingsError."""
    store = connect_store(url)
    if isinstance(broker, StoreBroker) and broker.database.url == store.url:
        return broker.database
    return store
