"""The broker in a file."""

from antiphon.brokers.embedded.address import from_address
from antiphon.brokers.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker", "from_address"]
