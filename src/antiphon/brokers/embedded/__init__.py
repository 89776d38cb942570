"""The broker in a file."""

from antiphon.brokers.embedded.address import from_address
from antiphon.brokers.embedded.broker import LOG, EmbeddedBroker, log_migrations

__all__ = ["LOG", "EmbeddedBroker", "from_address", "log_migrations"]
